"""Reading: the same sequence for every topology, members as the shard holds them."""

import pickle
from collections.abc import Iterator
from itertools import chain

import pytest

from schemas.errors import WrongRequest
from schemas.stream import StreamConfig
from stages.stream.batches import Batch, BatchReader
from stages.stream.tables import tables
from stages.stream.topology import Topology
from tests.builders import png, sid
from tests.stages.stream.conftest import MakeBuild, config


def ids(batches: Iterator[Batch] | BatchReader) -> list[str]:
    return [sample_id for batch in batches for sample_id in batch.sample_id]


def run(settings: StreamConfig, world: int, workers: int, position: int = 0) -> list[Batch]:
    """All ranks' batches as a trainer takes them: step by step, rank by rank; a rank's workers in turn."""
    ranks = []
    for rank in range(world):
        dealt = [list(BatchReader(settings, Topology(rank, world, w, workers), position)) for w in range(workers)]
        ranks.append([b for turn in _turns(dealt) for b in turn])
    return list(chain.from_iterable(_turns(ranks)))


def _turns(lists: list[list[Batch]]) -> Iterator[list[Batch]]:
    for i in range(max(map(len, lists), default=0)):
        yield [found[i] for found in lists if i < len(found)]


@pytest.mark.parametrize("workers", [1, 2, 4])
@pytest.mark.parametrize("world", [1, 2, 4, 8])
def test_the_sequence_does_not_depend_on_ranks_and_workers(make_build: MakeBuild, world: int, workers: int) -> None:
    settings = config(make_build("a", 37), make_build("b", 23, first=100), repeats=1.5)
    alone = ids(BatchReader(settings, Topology()))
    assert ids(iter(run(settings, world, workers))) == alone
    assert len(alone) == 37 * 3 // 2 + 23 * 3 // 2


def test_an_epoch_gives_every_sample_once(make_build: MakeBuild) -> None:
    assert sorted(ids(BatchReader(config(make_build(samples=30))))) == [sid(i) for i in range(30)]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_a_run_goes_on_from_any_position_in_other_batches(make_build: MakeBuild, batch: int) -> None:
    path = make_build(samples=30)
    whole = ids(BatchReader(config(path, repeats=2)))
    again = config(path, repeats=2, batch=batch)
    assert ids(BatchReader(again, position=17)) == whole[17:]


def test_after_is_the_position_of_the_whole_step(make_build: MakeBuild) -> None:
    settings = config(make_build(samples=30))
    assert [(b.start, b.after) for b in BatchReader(settings, Topology(1, 2))] == [(4, 8), (12, 16), (20, 24), (28, 30)]


def test_drop_last_gives_every_rank_as_many_full_batches(make_build: MakeBuild) -> None:
    settings = config(make_build(samples=30), drop_last=True)
    sizes = [[len(b) for b in BatchReader(settings, Topology(rank, 2))] for rank in range(2)]
    assert sizes == [[4, 4, 4], [4, 4, 4]]


def test_members_are_the_bytes_of_the_shard(make_build: MakeBuild) -> None:
    for batch in BatchReader(config(make_build(samples=9))):
        for i, sample_id in enumerate(batch.sample_id):
            number = int(sample_id, 16)
            assert bytes(batch.members["image"][i]) == png(number)
            assert batch.text[i] == f"caption {number}"
            assert f'"sample_id":"{sample_id}"'.encode() in bytes(batch.members["json"][i])


def test_a_member_that_no_sample_has_is_none(make_build: MakeBuild) -> None:
    batch = next(iter(BatchReader(config(make_build(samples=4), members=["cls", "txt"]))))
    assert batch.members["cls"] == [None] * 4


def test_a_batch_travels_to_another_process(make_build: MakeBuild) -> None:
    batch = next(iter(BatchReader(config(make_build(samples=4)))))
    again = pickle.loads(pickle.dumps(batch))
    assert (again.sample_id, again.text) == (batch.sample_id, batch.text)


def test_members_outlive_the_reader(make_build: MakeBuild) -> None:
    held = [batch.members["image"] for batch in BatchReader(config(make_build(samples=40), repeats=3))]
    assert {bytes(image)[:4] for images in held for image in images} == {b"\x89PNG"}


def test_where_chooses_samples(make_build: MakeBuild) -> None:
    path = make_build(samples=20)
    chosen = [f"{i:032x}" for i in range(20) if i % 3 == 0]
    names = ", ".join(f"'{c}'" for c in chosen)
    assert sorted(ids(BatchReader(config(path, where=f"sample_id IN ({names})")))) == chosen


@pytest.mark.parametrize(
    ("settings", "named"),
    [({"split": "test"}, "no split 'test'"), ({"where": "colour = 1"}, "colour"), ({"where": "1; DROP"}, "query")],
)
def test_a_wrong_choice_is_named(make_build: MakeBuild, settings: dict[str, str], named: str) -> None:
    with pytest.raises(WrongRequest, match=named):
        BatchReader(config(make_build(samples=4), **settings))


def test_a_folder_without_a_build_is_refused(tmp_path) -> None:
    with pytest.raises(WrongRequest, match="neither a finished build nor an indexed folder"):
        BatchReader(config(str(tmp_path)))


def test_tables_hold_the_same(make_build: MakeBuild) -> None:
    settings = config(make_build(samples=9))
    found = list(tables(BatchReader(settings)))
    assert [i for t in found for i in t["sample_id"].to_pylist()] == ids(BatchReader(settings))
    assert found[0]["txt"][0].as_py() == f"caption {int(found[0]['sample_id'][0].as_py(), 16)}"
    assert found[0]["source"].to_pylist() == ["build"] * 4
