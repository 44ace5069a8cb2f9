"""From a build to batches: every conversation once, whatever the ranks; resumed, the same batches to the bit."""

import json
import random
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.collate import Batch, Form
from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.prefetch import prefetched
from schemas.conversation import Conversation
from schemas.errors import WrongData, WrongRequest
from schemas.stream import SourceConfig, StreamConfig
from schemas.train_batch import Arrange, BatchConfig, TrainReason
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.builders import sid
from tests.pipelines.talking import talk, talking
from tests.pipelines.train.batches.saying import pixels
from tests.pipelines.train.batches.tokenizers_of import SMOLLM2, VICUNA, tokenizer

TOKENIZER = tokenizer(template=VICUNA)
Key = tuple[str, int]


def conversations(samples: int) -> list[list[Conversation]]:
    """0 to 3 of many lengths per sample; some that cannot be trained on; some over several pictures."""
    dice, out = random.Random(5), list[list[Conversation]]()
    for i in range(samples):
        said = [
            talk(f"how many? {n}", "There are three. " * dice.randint(1, 12)) for n in range(dice.choice([0, 1, 1, 3]))
        ]
        if i % 7 == 0:
            said.append(talk("question", " "))
        if i % 9 == 1:
            said.append(
                talk("<image> or <image>?", "the first", kind="interleaved", images=[sid(i), sid((i + 5) % samples)])
            )
        out.append(said)
    return out


SAID = conversations(48)
KEPT = {(sid(i), n) for i, said in enumerate(SAID) for n, one in enumerate(said) if one.turns[1].text.strip()}
LOOSE: dict[str, Any] = {"max_length": 128, "window": 6, "max_bad_share": 0.5, "ahead": 0}
WAYS = {
    "pack": BatchConfig(arrange=Arrange.pack, row_length=160, rows=2, **LOOSE),
    "narrow": BatchConfig(arrange=Arrange.pack, row_length=130, **{**LOOSE, "window": 2}),
    "group": BatchConfig(arrange=Arrange.group, rows=3, **LOOSE),
    "pad": BatchConfig(arrange=Arrange.pad, rows=3, **LOOSE),
    "budget": BatchConfig(arrange=Arrange.group, rows=8, tokens=300, **LOOSE),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = tmp_path_factory.mktemp("train") / "build"
    talking(url, SAID, max_samples=7)
    return str(url)


def batches(build: str, config: BatchConfig, rank: int = 0, world: int = 1, **more: Any) -> Batches:
    stream = Stream(StreamConfig(sources=[SourceConfig(path=build, repeats=more.pop("repeats", 1))], seed=3, window=2))
    made = more.pop("tokenizer", TOKENIZER)
    return Batches(stream, made, more.pop("pixels", pixels()), config, Topology(rank, world))


def keys(found: list[Batch]) -> list[Key]:
    return [(s.sample_id, s.number) for batch in found for s in batch.segments]


def same(a: Batch, b: Batch) -> None:
    for name in ("input_ids", "labels", "position_ids", "segment_ids"):
        assert torch.equal(getattr(a, name), getattr(b, name))
    assert a.pixels.keys() == b.pixels.keys()
    assert all(torch.equal(a.pixels[name], b.pixels[name]) for name in a.pixels)
    assert (a.segments, a.stats, a.rejected, a.filler, a.after) == (b.segments, b.stats, b.rejected, b.filler, b.after)


# ------------------------------------------------------------------ what is in them


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("world", [1, 3])
def test_every_conversation_is_in_one_batch(build: str, way: str, world: int) -> None:
    ranks = [list(batches(build, WAYS[way], rank, world)) for rank in range(world)]
    found = [key for rank in ranks for key in keys(rank)]
    assert sorted(found) == sorted(KEPT)
    assert len({len(rank) for rank in ranks}) == 1  # collective operations need as many steps on every rank
    rejected = [r for rank in ranks for batch in rank for r in batch.rejected]
    assert sum(r.reason == TrainReason.empty_turn for r in rejected) == 7
    assert len({(r.sample_id, r.number) for r in rejected}) == len(rejected)
    silent = sum(not said for said in SAID)
    assert len(rejected) == 7 + silent


def test_two_epochs_are_every_conversation_twice(build: str) -> None:
    found = keys(list(batches(build, WAYS["pack"], repeats=2)))
    assert sorted(found) == sorted([*KEPT, *KEPT])


@pytest.mark.parametrize("way", ["pack", "pad"])
def test_two_ranks_are_one_rank_with_twice_the_rows(build: str, way: str) -> None:
    config = WAYS[way]
    double = list(batches(build, config.model_copy(update={"rows": 2 * config.rows})))
    ranks = [list(batches(build, config, rank, 2)) for rank in range(2)]
    pairs = [
        [s.sample_id for batch in step if not batch.filler for s in batch.segments] for step in zip(*ranks, strict=True)
    ]
    assert pairs == [batch.sample_ids for batch in double]


def test_tensors_are_what_the_segments_say(build: str) -> None:
    for batch in batches(build, WAYS["pack"]):
        covered = torch.zeros_like(batch.segment_ids)
        images = 0
        for s in batch.segments:
            here = (s.row, slice(s.start, s.stop))
            covered[here] += 1
            assert batch.segment_ids[here].unique().numel() == 1
            assert batch.position_ids[here].tolist() == list(range(s.stop - s.start))
            assert (batch.labels[here] != IGNORED).sum() == s.label_tokens > 0
            assert batch.labels[s.row, s.start] == IGNORED
            images += s.images
        assert torch.equal(covered, (batch.segment_ids > 0).long())
        assert batch.labels[batch.segment_ids == 0].eq(IGNORED).all()
        image_tokens = (batch.input_ids == TOKENIZER.convert_tokens_to_ids("<image>")).sum()
        assert image_tokens == batch.stats.image_tokens == 4 * images
        assert batch.pixels["pixel_values"].shape == (images, 3, 8, 8)
        stats = batch.stats
        assert stats.tokens == covered.sum()
        assert stats.tokens + stats.padding == batch.input_ids.numel()
        assert stats.label_tokens == (batch.labels != IGNORED).sum()
        assert stats.padding_share == stats.padding / batch.input_ids.numel()


def test_pixels_follow_the_order_of_the_image_tokens(build: str) -> None:
    """A picture's blue is constant, its red says which sample's it is."""
    for batch in batches(build, WAYS["pack"]):
        reds = batch.pixels["pixel_values"][:, 0].mean((1, 2)) * 0.26862954 + 0.48145466
        wanted = list[float]()
        for s in batch.segments:
            own = int(s.sample_id, 16)
            wanted += [own * 37 % 256, (own + 5) % 48 * 37 % 256][: s.images]
        assert (reds * 255).tolist() == pytest.approx(wanted, abs=3)


def test_full_rows_have_one_shape(build: str) -> None:
    config = WAYS["pack"].model_copy(update={"full_rows": True})
    assert {batch.input_ids.shape[1] for batch in batches(build, config)} == {160}


def test_a_rank_without_a_turn_repeats_the_steps_first_batch_and_learns_nothing(build: str) -> None:
    ranks = [list(batches(build, WAYS["pad"], rank, 7)) for rank in range(7)]
    last = [rank[-1] for rank in ranks]
    fillers = [batch for batch in last if batch.filler]
    assert fillers
    for filler in fillers:
        assert torch.equal(filler.input_ids, last[0].input_ids)
        assert torch.equal(filler.pixels["pixel_values"], last[0].pixels["pixel_values"])
        assert filler.labels.eq(IGNORED).all()
        assert (filler.stats.examples, filler.stats.label_tokens, filler.segments) == (0, 0, [])
        assert filler.stats.padding == filler.input_ids.numel()
        assert filler.after == last[0].after


# ------------------------------------------------------------------ going on


@pytest.mark.parametrize("way", WAYS)
def test_resumed_after_any_batch_it_is_the_same_to_the_bit(build: str, way: str) -> None:
    run = batches(build, WAYS[way])
    whole = list(run)
    assert len(whole) > 5
    for done in range(len(whole)):
        again = batches(build, WAYS[way])
        again.load_state_dict(json.loads(json.dumps(run.state_dict(whole[done].after))))
        rest = list(again)
        assert len(rest) == len(whole) - done - 1
        for mine, theirs in zip(rest, whole[done + 1 :], strict=True):
            same(mine, theirs)
    assert again.ledger.state_dict() == whole[-1].after["ledger"]


def test_other_ranks_go_on_where_these_stopped(build: str) -> None:
    runs = [batches(build, WAYS["pack"], rank, 2) for rank in range(2)]
    pair = [list(run) for run in runs]
    states = [run.state_dict(found[1].after) for run, found in zip(runs, pair, strict=True)]
    assert states[0] == states[1]
    alone = batches(build, WAYS["pack"])
    alone.load_state_dict(states[0])
    rest = [batch.sample_ids for batch in alone]
    both = [batch.sample_ids for step in zip(*pair, strict=True) for batch in step if not batch.filler]
    assert rest == both[4:]


def test_the_state_is_that_of_the_last_batch_given_out(build: str) -> None:
    run = batches(build, WAYS["pack"].model_copy(update={"ahead": 3}))
    given = iter(run)
    first = [next(given) for _ in range(2)]
    assert run.state_dict() == run.state_dict(first[1].after) != run.state_dict(first[0].after)
    given.close()  # pyright: ignore[reportAttributeAccessIssue]
    rest = keys([*first, *run])
    assert sorted(rest) == sorted(KEPT)


def test_nothing_is_counted_twice_over_a_resume(build: str) -> None:
    run = batches(build, WAYS["group"])
    whole = list(run)
    again = batches(build, WAYS["group"])
    again.load_state_dict(run.state_dict(whole[3].after))
    rest = list(again)
    told = [r for batch in [*whole[:4], *rest] for r in batch.rejected]
    assert len(told) == len({(r.sample_id, r.number) for r in told}) == again.ledger.rejected.total()
    assert again.ledger.examples == len(KEPT)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokenizer": tokenizer("llama", VICUNA)}, "the tokenizer changed"),
        ({"tokenizer": tokenizer(template=SMOLLM2)}, "the template's text changed"),
        ({"pixels": pixels(tokens=5)}, r"pixels\.tokens changed"),
    ],
)
def test_a_state_of_other_batches_is_refused(build: str, change: dict[str, Any], named: str) -> None:
    state = batches(build, WAYS["pack"]).state_dict()
    with pytest.raises(WrongRequest, match=named):
        batches(build, WAYS["pack"], **change).load_state_dict(state)
    with pytest.raises(WrongRequest, match=r"batch\.arrange, batch\.row_length, batch\.rows changed"):
        batches(build, WAYS["pad"]).load_state_dict(state)


def test_a_state_of_other_data_is_refused(build: str, tmp_path: Path) -> None:
    state = batches(build, WAYS["pack"]).state_dict()
    talking(tmp_path / "build", conversations(20), max_samples=7)
    with pytest.raises(WrongData, match="changed"):
        batches(str(tmp_path / "build"), WAYS["pack"]).load_state_dict(state)


# ------------------------------------------------------------------ what goes wrong


def broken(folder: Path, bad: set[int], samples: int = 12) -> str:
    """A build whose samples `bad` have pictures that do not decode."""
    from tests.pipelines import talking as module

    whole = module.jpeg
    module.jpeg = lambda number, side=24: whole(number, side)[:300] if number in bad else whole(number, side)
    try:
        talking(folder / "build", [[talk(f"how many? {i}", "three")] for i in range(samples)], max_samples=5)
    finally:
        module.jpeg = whole
    return str(folder / "build")


def test_a_picture_that_does_not_decode_takes_its_example_along(tmp_path: Path) -> None:
    build = broken(tmp_path, {2, 7})
    run = batches(build, WAYS["pack"])
    found = list(run)
    assert sorted(keys(found)) == sorted((sid(i), 0) for i in range(12) if i not in (2, 7))
    rejected = [r for batch in found for r in batch.rejected]
    assert sorted((r.sample_id, r.reason) for r in rejected) == [(sid(i), "bad_picture") for i in (2, 7)]
    assert sum(batch.stats.rejected.get("bad_picture", 0) for batch in found) == 2
    assert (run.ledger.examples, run.ledger.rejected) == (10, {"bad_picture": 2})
    for batch in found:
        assert batch.stats.images == len(batch.pixels["pixel_values"]) == len(batch.segments)


def test_ranks_agree_on_the_state_though_one_alone_saw_a_bad_picture(tmp_path: Path) -> None:
    build = broken(tmp_path, {2, 7})
    config = BatchConfig(arrange=Arrange.pad, rows=2, **LOOSE)
    first, second = (list(batches(build, config, rank, 2)) for rank in range(2))
    assert [batch.after for batch in first] == [batch.after for batch in second]
    assert len(keys([*first, *second])) == 10


def test_a_batch_of_bad_pictures_alone_is_padding(tmp_path: Path) -> None:
    build = broken(tmp_path, set(range(3)), samples=3)
    config = BatchConfig(arrange=Arrange.pad, rows=3, max_length=128, max_bad_share=1, ahead=0)
    given = iter(batches(build, config))
    batch = next(given)
    assert batch.segments == []
    assert batch.inputs(Form.varlen)["input_ids"].shape == (1, 1)
    assert batch.pixels == {}
    assert batch.labels.eq(IGNORED).all()
    with pytest.raises(WrongData, match="no conversation is left to train on: 3 bad_picture"):
        next(given)


def test_too_many_rejections_stop_training(build: str) -> None:
    strict = WAYS["pack"].model_copy(update={"max_bad_share": 0.05, "judged_from": 10})
    with pytest.raises(WrongData, match=r"empty_turn.*the last is [0-9a-f]{32}: empty_turn turn 1; look at them"):
        list(batches(build, strict))
    counted = WAYS["pack"].model_copy(update={"max_bad": 4})
    with pytest.raises(WrongData, match=r"5 of .* conversations cannot be trained on"):
        list(batches(build, counted))


def test_a_short_stream_is_judged_at_its_end(build: str) -> None:
    late = WAYS["pack"].model_copy(update={"max_bad_share": 0.05, "judged_from": 10_000})
    given = iter(batches(build, late))
    with pytest.raises(WrongData, match="cannot be trained on"):
        list(given)


def test_what_was_not_asked_for_is_no_fault(build: str) -> None:
    config = WAYS["pack"].model_copy(update={"kinds": ["interleaved"], "max_bad_share": 0.0})
    assert len(keys(list(batches(build, config)))) == 6


def test_nothing_left_to_train_on_is_an_error(build: str) -> None:
    config = WAYS["pack"].model_copy(update={"kinds": ["count"]})
    with pytest.raises(WrongData, match=r"no conversation is left to train on: .*other_kind"):
        list(batches(build, config))


# ------------------------------------------------------------------ ahead


def test_batches_made_ahead_are_the_same(build: str) -> None:
    ahead = list(batches(build, WAYS["pack"].model_copy(update={"ahead": 2})))
    for mine, theirs in zip(ahead, batches(build, WAYS["pack"]), strict=True):
        same(mine, theirs)


def test_an_error_comes_where_it_would_have_been() -> None:
    def failing() -> Any:
        yield 1
        yield 2
        raise WrongData("three")

    got = list[int]()
    with pytest.raises(WrongData, match="three"):
        got.extend(prefetched(failing(), 1))
    assert got == [1, 2]


def test_who_stops_early_leaves_no_thread() -> None:
    closed = threading.Event()

    def endless() -> Any:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    items = prefetched(endless(), 2)
    assert next(items) == 1
    items.close()
    assert closed.is_set()
    assert not [t for t in threading.enumerate() if t.name == "batches"]
