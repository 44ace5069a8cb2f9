"""The run's sequence of units as a property: everything once, and the same after a stop between any two of them."""

import json
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.example import Example
from pipelines.train.batches.ledger import TrainLedger
from pipelines.train.batches.talks import Streamed, Talk
from pipelines.train.batches.units import Unit, Units, state_of
from schemas.train_batch import Arrange, BatchConfig, TrainReason
from tests.pipelines.talking import talk
from tests.pipelines.train.batches.saying import nowhere, streamed


class Lengths:
    """An encoder for which an answer is as many tokens as it says; 0 is a rejection."""

    def __init__(self, config: BatchConfig) -> None:
        self.config = config

    def encode(self, said: Talk) -> Any:
        length = int(said.turns[1].chunks[0] or "")
        if not length:
            return said.rejected(TrainReason.template_mismatch, "")
        labels = np.array([IGNORED] + [1] * (length - 1))
        return Example(said, np.arange(length), labels, [], (), 0)


_samples = st.lists(st.lists(st.integers(0, 16).filter(lambda n: n != 1), max_size=4), min_size=1, max_size=14)


def units_of(
    config: BatchConfig, samples: list[Streamed], at: dict[str, Any] | None
) -> list[tuple[Unit, dict[str, Any]]]:
    """Each unit, and the state after it."""
    ledger = TrainLedger(config)
    units = Units(Lengths(config), ledger, nowhere)  # pyright: ignore[reportArgumentType]
    at = at or {"position": 0, "held": [], "ledger": ledger.state_dict()}
    ledger.load_state_dict(at["ledger"])
    begin = units.begin(at["position"], [(p, n) for p, n in at["held"]])
    found = [(unit, json.loads(json.dumps(state_of(units, ledger)))) for unit in units.of(samples[begin:])]
    told = sum(len(unit.rejected) for unit, _ in found) + len(units.trailing())
    assert told == ledger.rejected.total() - sum(at["ledger"]["rejected"].values())
    return found


def keys(found: list[tuple[Unit, dict[str, Any]]]) -> list[list[list[tuple[int, int]]]]:
    return [[[example.key for example in row] for row in unit.rows] for unit, _ in found]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    said=_samples,
    arrange=st.sampled_from(Arrange),
    rows=st.integers(1, 3),
    window=st.integers(1, 6),
    cut=st.integers(0, 100),
)
def test_everything_once_and_the_same_after_a_stop(
    said: list[list[int]], arrange: Arrange, rows: int, window: int, cut: int
) -> None:
    config = BatchConfig(arrange=arrange, rows=rows, window=window, max_length=16, max_bad_share=1)
    samples = [streamed(*(talk("q", str(n)) for n in one), number=i, image=b"") for i, one in enumerate(said)]
    kept = [(i, number) for i, one in enumerate(said) for number, n in enumerate(one) if n]
    if not kept:
        return
    whole = units_of(config, samples, None)
    assert sorted(key for unit in keys(whole) for row in unit for key in row) == kept
    for unit, _ in whole:
        assert 1 <= len(unit.rows) <= rows
        assert all(sum(map(len, row)) <= 16 for row in unit.rows)
    done = cut % len(whole)
    rest = units_of(config, samples, whole[done][1])
    assert keys(rest) == keys(whole[done + 1 :])
    assert [state for _, state in rest] == [state for _, state in whole[done + 1 :]]
