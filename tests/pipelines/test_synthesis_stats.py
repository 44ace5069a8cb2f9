"""The account of synthesis, from hand-made families."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from rich.console import Console

from pipelines.synthesis_stats import Synthesis, as_json, render, synthesis_summary
from schemas.conversation import Synthesized
from schemas.errors import WrongData
from schemas.row import nullable
from stages.families import part_file
from stages.store import Store, sealed

SCHEMA = pa.schema([*nullable(Synthesized.arrow_schema()), pa.field("reason", pa.string())])
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "cost": 0.002}


def kept(kind: str = "detail", teacher: str = "m", **more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "text": "?", "evidence": []}, {"role": "assistant", "text": "!", "evidence": []}]
    plain = {"prompt_version": 1, "language": "en", "turns": turns, "repaired": False, "usage": USAGE}
    return {"kind": kind, "teacher": teacher, **plain, **more}


def dropped(reason: str, kind: str = "detail", teacher: str = "m", **more: Any) -> dict[str, Any]:
    return {"kind": kind, "teacher": teacher, "reason": reason, "evidence": "seen", "usage": USAGE, **more}


def written(folder: Path, *parts: list[tuple[list[Any] | None, list[Any] | None]]) -> Store:
    """A build of these parts; a row is (conversations, dropped), (None, None) where select did not keep it."""
    store = Store(str(folder))
    for number, rows in enumerate(parts):
        values = [
            {"sample_id": f"{number}-{i}", "conversations": conversations, "dropped": gone}
            for i, (conversations, gone) in enumerate(rows)
        ]
        table = pa.Table.from_pylist(values, schema=SCHEMA)
        store.write_table(part_file("conversations", number), table, sealed(table, "test", "synthesize"))
    return store


def summed(store: Store) -> Synthesis:
    summary = synthesis_summary(store)
    assert summary is not None
    return summary


def plain(text: Any) -> str:
    console = Console(width=80)
    with console.capture() as seen:
        console.print(text)
    return seen.get()


def test_a_build_without_conversations_has_no_account(tmp_path: Path) -> None:
    assert synthesis_summary(Store(str(tmp_path))) is None


def test_kept_and_dropped_are_counted_by_kind_and_reason_over_all_parts(tmp_path: Path) -> None:
    store = written(
        tmp_path,
        [([kept(), kept("vqa")], [dropped("loop", "vqa")]), ([], [dropped("leak")])],
        [([kept()], [dropped("leak"), dropped("truncated")])],
    )
    lines = {line.kind: (line.kept, dict(line.dropped)) for line in summed(store).lines}
    assert lines == {"detail": (2, {"leak": 2, "truncated": 1}), "vqa": (1, {"loop": 1})}


def test_reasons_come_most_first(tmp_path: Path) -> None:
    store = written(tmp_path, [([], [dropped("leak"), dropped("loop"), dropped("loop"), dropped("absent_object")])])
    assert list(summed(store).lines[0].dropped) == ["loop", "absent_object", "leak"]


def test_two_teachers_are_two_lines(tmp_path: Path) -> None:
    store = written(tmp_path, [([kept(teacher="b"), kept(teacher="a")], [])])
    assert [(line.teacher, line.kept) for line in summed(store).lines] == [("a", 1), ("b", 1)]


def test_rows_that_select_did_not_keep_are_no_samples(tmp_path: Path) -> None:
    summary = summed(written(tmp_path, [(None, None), ([kept(), kept("vqa")], []), ([], [dropped("loop")])]))
    assert (summary.samples, summary.with_conversation) == (2, 1)


def test_tokens_are_of_all_that_was_written_and_money_also_of_what_was_thrown_away(tmp_path: Path) -> None:
    line = summed(written(tmp_path, [([kept()], [dropped("loop"), dropped("leak")])])).lines[0]
    assert (line.prompt_tokens, line.completion_tokens) == (300, 30)
    assert (line.pico, line.pico_dropped) == (6_000_000_000, 4_000_000_000)


def test_money_is_exact_where_floats_are_not(tmp_path: Path) -> None:
    dime = {**USAGE, "cost": 0.1}
    assert summed(written(tmp_path, [([kept(usage=dime)] * 10, [])])).total.pico == 10**12
    assert sum([0.1] * 10) != 1.0


def test_what_has_no_usage_cost_nothing(tmp_path: Path) -> None:
    store = written(tmp_path, [([kept(usage=None)], [dropped("timeout", usage=None)])])
    line = summed(store).lines[0]
    assert (line.kept, line.dropped["timeout"]) == (1, 1)
    assert (line.prompt_tokens, line.completion_tokens, line.pico) == (0, 0, 0)


def test_the_cost_of_a_kept_sample_holds_what_was_thrown_away_elsewhere(tmp_path: Path) -> None:
    summary = summed(written(tmp_path, [([kept(), kept("vqa")], []), ([], [dropped("loop")] * 2)]))
    assert summary.cost_per_kept_sample == Decimal("0.008")


def test_nothing_kept_has_no_cost_per_kept_sample(tmp_path: Path) -> None:
    assert summed(written(tmp_path, [([], [dropped("loop")])])).cost_per_kept_sample is None


def test_repaired_ones_are_counted(tmp_path: Path) -> None:
    assert summed(written(tmp_path, [([kept(repaired=True), kept()], [])])).lines[0].repaired == 1


def test_json_is_as_promised(tmp_path: Path) -> None:
    said = as_json(summed(written(tmp_path, [([kept()], [dropped("loop")])])))
    numbers = {
        "kept": 1, "repaired": 0, "dropped": {"loop": 1}, "prompt_tokens": 200, "completion_tokens": 20,
        "cost": 0.004, "cost_dropped": 0.002,
    }  # fmt: skip
    assert said == {
        "samples": 1, "with_conversation": 1, "kinds": [{"teacher": "m", "kind": "detail", **numbers}],
        "total": numbers, "cost_per_kept_sample": 0.004,
    }  # fmt: skip


def test_the_table_fits_80_columns_and_shows_every_number(tmp_path: Path) -> None:
    usage = {"prompt_tokens": 123_456_789, "completion_tokens": 98_765_432, "cost": 1234.56}
    teacher, lost = "SmolLM2-135M-Instruct.Q4_1@b179c9523d0e", dropped("denied_object", "conversation")
    rows = [([kept("conversation", teacher, usage=usage)] * 3, [{**lost, "teacher": teacher}])]
    text = plain(render(summed(written(tmp_path, rows))))
    assert max(map(len, text.splitlines())) <= 80
    for number in ("370,370,467", "296,296,306", "3,703.68", "denied_object", teacher):
        assert number in text


def test_small_money_is_shown_and_a_hostile_name_is_escaped(tmp_path: Path) -> None:
    store = written(tmp_path, [([kept(teacher="m\x1b[2J", usage={**USAGE, "cost": 0.000123})], [])])
    text = plain(render(summed(store)))
    assert "0.000123 per sample" in text
    assert "\x1b" not in text and "m\\x1b[2J" in text


def test_a_torn_part_is_named(tmp_path: Path) -> None:
    store = written(tmp_path, [([kept()], [])])
    path = tmp_path / "conversations" / "00000.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(WrongData, match=r"conversations/00000\.parquet"):
        synthesis_summary(store)
