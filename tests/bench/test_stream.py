"""The stream benchmark's data, protocol and rows; the readers of the project's own environment."""

import json
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.streaming import data as made
from bench.streaming.data import Data
from bench.streaming.process import JOBS, touch
from bench.streaming.readers import READERS, Cannot
from bench.streaming.rows import claims, rows
from bench.streaming.runner import Measured, Runner, interleaved
from bench.streaming.samples import digest, number_of, samples, tiny, write_tars
from bench.streaming.setting import Answer, Setting
from bench.streaming.store import serving
from bench.streaming.tars import members

PICTURES = [np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8) for i in range(2)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """40 samples in 4 shards, indexed, and as loose files."""
    folder = tmp_path_factory.mktemp("data")
    write_tars(folder / "tars", samples(PICTURES, 40), per_shard=10)
    out = Data(folder, 40, folder / "cache")
    out.of("loose")
    out.of("ours")
    return out


def test_no_two_samples_have_the_same_jpeg_and_texts_begin_with_numbers() -> None:
    drawn = list(samples(PICTURES, 2 * 26 * 3))
    assert len({sample.jpg for sample in drawn}) == len(drawn)
    assert [number_of(sample.txt) for sample in drawn] == list(range(len(drawn)))
    assert json.loads(drawn[7].json)["number"] == 7


def test_shards_have_the_same_mix_of_qualities() -> None:
    sizes = [len(sample.jpg) for sample in samples(PICTURES, 2 * 26)]
    assert sum(sizes[:26]) / sum(sizes[26:]) == pytest.approx(1, abs=0.1)


def test_tars_hold_so_many_samples_each_and_read_back_whole(tmp_path: Path) -> None:
    assert write_tars(tmp_path, tiny(25), per_shard=10) == 25
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["000000.tar", "000001.tar", "000002.tar"]
    with tarfile.open(tmp_path / "000002.tar") as tar:
        assert len(tar.getnames()) == 15
    assert [(key, held["txt"]) for key, held in members(tmp_path)][24] == ("000000024", b"24 grey")


def asked(setting: Setting) -> Answer:
    """The job done here: a process of its own costs seconds of imports."""
    return JOBS[setting.job](setting)


@pytest.mark.parametrize("reader", ["ours", "wds0", "loose"])
def test_a_reader_delivers_every_stored_byte_once(data: Data, reader: str) -> None:
    answer = asked(Setting(reader, str(data.of(reader)), "check", batch=4))
    assert answer.found == data.stored()
    assert (answer.samples, answer.repeated) == (40, 0)


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["ours", "wds0", "loose"])
def test_so_it_does_in_a_process_with_two_workers(data: Data, reader: str) -> None:
    answer = Runner(data.cache).run(Setting(reader, str(data.of(reader)), "check", workers=2, batch=4))
    assert answer.cannot is None
    assert answer.found == data.stored()
    assert (answer.samples, answer.repeated) == (40, 0)


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["ours", "wds0", "loose"])
def test_so_it_does_from_an_object_store(data: Data, reader: str, tmp_path: Path) -> None:
    with serving() as store:
        root, options = store.of(data, reader, "none")
        setting = Setting(reader, root, "check", options=options, cache=str(tmp_path / "cold"), batch=4)
        answer = Runner(data.cache, store.endpoint).run(setting)
    assert answer.cannot is None
    assert answer.found == data.stored()
    assert list((tmp_path / "cold").iterdir()) == []


def test_a_missing_sample_and_a_changed_byte_show(data: Data, tmp_path: Path) -> None:
    write_tars(tmp_path, (replace(s, jpg=s.jpg[:-1] + b"\0") for s in samples(PICTURES, 39)), per_shard=10)
    found = asked(Setting("wds0", str(tmp_path), "check")).found
    stored = data.stored()
    assert set(stored) - set(found) == {next(text for text in stored if text.startswith("39 "))}
    assert all(found[text] != stored[text] for text in found)


def test_all_readers_with_the_same_decoder_deliver_the_same_pixels(data: Data) -> None:
    found = {}
    for reader in ("ours", "wds0", "loose", "bare"):
        setting = Setting(reader, str(data.of(reader)), "check", decode="same", batch=8)
        found[reader] = asked(setting).found
    assert len(found["ours"]) == 40
    assert found["wds0"] == found["loose"] == found["bare"] == found["ours"]


def test_a_rate_counts_samples_time_and_cpu(data: Data) -> None:
    setting = Setting("ours", str(data.of("ours")), batch=2, seconds=0.2)
    answer = asked(setting)
    assert answer.wall >= 0.2
    assert answer.samples % 2 == 0
    assert 0 < answer.cpu < 5 * answer.wall
    assert answer.starts


def test_orders_are_permutations_and_only_shuffled_when_asked(data: Data) -> None:
    setting = Setting("ours", str(data.of("ours")), "order", batch=4)
    orders = [asked(replace(setting, shuffle=shuffle)).order for shuffle in (True, False)]
    assert orders[1] == list(range(40))
    assert sorted(orders[0]) == orders[1] != orders[0]


def test_first_sample_and_memory_are_measured(data: Data) -> None:
    setting = Setting("ours", str(data.of("ours")), batch=4, limit=100)
    first = asked(replace(setting, job="first"))
    assert (first.samples, first.wall > 0) == (1, True)
    rss = asked(replace(setting, job="memory")).rss
    assert list(rss) == ["10", "100"]
    assert all(whole > own > 0 for whole, own in rss.values())


def test_a_process_that_fails_or_hangs_says_so_in_its_row(data: Data) -> None:
    setting = Setting("wds0", str(data.of("wds0")), seconds=1e9, batch=2)
    assert Runner(data.cache, patience=0.5).run(setting).cannot == "gave no answer within 0.5 s"
    absent = Runner(data.cache).run(replace(setting, reader="ours", root=str(data.root / "absent"))).cannot
    assert absent is not None
    assert "neither a finished build nor an indexed folder" in absent


def test_the_bare_decoder_is_no_reader(data: Data) -> None:
    with pytest.raises(Cannot, match="only decodes"):
        asked(Setting("bare", str(data.of("bare"))))


def test_views_are_counted_like_bytes() -> None:
    view = memoryview(b"abc")
    assert touch({"txt": [b"1", b"2"], "jpg": [view, b"x"], "json": [view, view]}) == 2


def test_readers_take_turns_and_one_that_cannot_is_asked_once() -> None:
    asked: list[str] = []

    def run(setting: Setting) -> Answer:
        asked.append(setting.reader)
        return Answer(cannot="no") if setting.reader == "bare" else Answer(samples=100, wall=1.0, cpu=0.5)

    settings = [Setting(reader, "") for reader in ("ours", "bare", "wds0")]
    measured = interleaved(settings, run, 2, lambda _: None)
    assert asked == ["ours", "bare", "wds0", "ours", "wds0"]
    assert [m.cannot for m in measured] == [None, "no", None]


def _measured(reader: str, rates: list[float], cpu_ms: float, decode: str = "none", threads: int = 1) -> Measured:
    answers = [Answer(samples=1000, wall=1000 / rate, cpu=cpu_ms) for rate in rates]
    return Measured(Setting(reader, "", decode=decode, threads=threads), answers)


def test_rows_say_best_median_and_the_ratio_to_webdataset_of_their_own_setting() -> None:
    measured = [
        _measured("wds0", [100, 200, 300], 5),
        _measured("ours", [1000, 3000, 2000], 0.4),
        _measured("wds0", [50], 6, "same"),
        _measured("ours", [100], 3, "same"),
    ]
    told = rows(measured)
    assert [(r["reader"], r["samples/s, best"], r["median"], r["× webdataset 0.2"]) for r in told] == [
        ("webdataset 0.2", 300, 200, 1.0),
        ("ours", 3000, 2000, 10.0),
        ("webdataset 0.2", 50, 50, 1.0),
        ("ours", 100, 100, 2.0),
    ]
    assert told[1]["CPU ms/sample"] == 0.4


def test_claims_compare_like_with_like() -> None:
    measured = [
        _measured("wds0", [100], 5),
        _measured("ours", [1000], 0.5),
        _measured("bare", [400], 2, "same"),
        _measured("bare", [800], 2, "same", threads=2),
        _measured("ours", [380], 2.5, "same"),
        _measured("ours", [780], 4, "same", threads=2),
    ]
    told = claims(measured)
    assert told["≥ 10 × webdataset 0.2 (local, 0 workers, no decode; 1 threads)"] == "10.00 by time, 10.00 by CPU"
    bare = {name: said for name, said in told.items() if "bare" in name}
    assert list(bare.values()) == ["0.95 by time, 0.80 by CPU", "0.97 by time, 0.50 by CPU"]
    assert not any("litdata" in name for name in told)


def test_every_reader_has_a_file_and_data_are_kept_by_what_decides_them(tmp_path: Path) -> None:
    folder = Path(sys.modules["bench.streaming"].__path__[0])
    assert all((folder / f"{reader.module}.py").exists() for reader in READERS.values())
    first, same, other = (made.many(tmp_path, n, 10) for n in (20, 20, 30))
    assert first.root == same.root != other.root
    assert len(first.stored()) == 20
    assert first.stored()["3 grey"] == digest(next(tiny(1)).jpg, b'{"number": 3}')
