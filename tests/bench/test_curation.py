"""What curation makes: captions and boxes are mixed up as they should be, and the table says what the figures do."""

import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench import curation
from bench.curation import DIFFERENCE, lines, meaning
from bench.curation_train import STAGES, Job, config
from bench.curation_web import FILTER, MIXED, OFF, ON, Arm, mix_up, rules_without, shown_size, sound
from pipelines.demo import RECIPE
from pipelines.recipe_file import load
from pipelines.sample_web.pool import SampleWeb, write_pool
from stages.store import Store

ROWS = 260


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> SampleWeb:
    return write_pool(tmp_path_factory.mktemp("plain"), rows=ROWS, seed=3, boxed=1.0)


@pytest.fixture(scope="module")
def mixed(web: SampleWeb, tmp_path_factory: pytest.TempPathFactory) -> SampleWeb:
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(web.folder, folder, dirs_exist_ok=True)
    made = SampleWeb(folder, web.rows, web.seed)
    mix_up(made)
    return made


def rows_of(path: Path) -> list[dict[str, Any]]:
    return pq.read_table(path).to_pylist()


def test_a_fifth_of_the_sound_pictures_is_mixed_up(mixed: SampleWeb) -> None:
    truth = rows_of(mixed.truth)
    fine = sound(truth)
    copies = [truth[i]["duplicate_group"] for i in fine if truth[i]["duplicate_group"]]
    told = [one["row"] for one in rows_of(mixed.folder / MIXED)]
    assert len(told) == len(set(told)) == round(0.2 * (len(fine) - len(copies) + len(set(copies)))) > 10
    assert set(told) <= set(fine)
    assert not any(truth[i]["duplicate_group"] for i in told)


def test_nothing_else_changes(web: SampleWeb, mixed: SampleWeb) -> None:
    before, after = rows_of(web.pool), rows_of(mixed.pool)
    told = {one["row"]: one["taken_from"] for one in rows_of(mixed.folder / MIXED)}
    assert pq.read_schema(web.pool) == pq.read_schema(mixed.pool)
    for i, (was, now) in enumerate(zip(before, after, strict=True)):
        if i not in told:
            assert now == was
            continue
        assert {k: v for k, v in now.items() if k not in ("caption", "boxes")} == {
            k: v for k, v in was.items() if k not in ("caption", "boxes")
        }
        assert now["caption"] == before[told[i]]["caption"]
    for name in ("truth", "site"):
        assert getattr(web, name).read_bytes() == getattr(mixed, name).read_bytes()


def test_boxes_are_those_of_the_other_picture_and_lie_in_this_one(web: SampleWeb, mixed: SampleWeb) -> None:
    before, after, truth = rows_of(web.pool), rows_of(mixed.pool), rows_of(mixed.truth)
    scaled = 0
    for one in rows_of(mixed.folder / MIXED):
        i, taken = one["row"], one["taken_from"]
        (width, height), (w, h) = shown_size(truth[i]), shown_size(truth[taken])
        own, theirs, now = before[i]["boxes"], before[taken]["boxes"], after[i]["boxes"]
        assert Counter(b["label"] for b in now) != Counter(b["label"] for b in own)
        assert [b["label"] for b in now] == [b["label"] for b in theirs]
        for box, was in zip(now, theirs, strict=True):
            shares = [box["x"] / width, box["y"] / height, box["w"] / width, box["h"] / height]
            assert shares == pytest.approx([was["x"] / w, was["y"] / h, was["w"] / w, was["h"] / h], abs=1e-5)
            assert box["x"] >= 0 and box["y"] >= 0
            assert box["x"] + box["w"] <= width + 1e-3 and box["y"] + box["h"] <= height + 1e-3
        scaled += (width, height) != (w, h)
    assert scaled > 5


def test_every_caption_is_there_as_often_as_before(web: SampleWeb, mixed: SampleWeb) -> None:
    assert Counter(r["caption"] for r in rows_of(web.pool)) == Counter(r["caption"] for r in rows_of(mixed.pool))
    told = rows_of(mixed.folder / MIXED)
    assert {one["row"] for one in told} == {one["taken_from"] for one in told}


def test_the_same_seed_mixes_the_same_rows(web: SampleWeb, mixed: SampleWeb, tmp_path: Path) -> None:
    again = SampleWeb(tmp_path, ROWS, web.seed)
    other = SampleWeb(tmp_path / "other", ROWS, web.seed + 1)
    for made in (again, other):
        made.folder.mkdir(exist_ok=True)
        for name in ("pool", "truth"):
            getattr(made, name).write_bytes(getattr(web, name).read_bytes())
        mix_up(made)
    assert again.pool.read_bytes() == mixed.pool.read_bytes()
    assert rows_of(again.folder / MIXED) == rows_of(mixed.folder / MIXED) != rows_of(other.folder / MIXED)


def test_the_arms_differ_in_one_rule() -> None:
    shipped = [rule.reason for rule in load(str(RECIPE)).recipe.select.rules]
    assert [rule["reason"] for rule in rules_without(FILTER)] == [one for one in shipped if one != FILTER]


def test_steps_are_given_whatever_the_rows_are(tmp_path: Path) -> None:
    made = config(Job(str(tmp_path / "build"), "asked", str(tmp_path / "run"), "result", 5, (7, 9), []))
    assert [(stage.name, stage.steps, stage.data.seed) for stage in made.stages] == list(
        zip(STAGES, (7, 9), (5, 5), strict=True)
    )
    assert all(source.repeats is None for stage in made.stages for source in stage.data.sources)
    assert (made.seed, made.threads) == (5, 1)


def test_what_is_finished_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fingerprints = {OFF: "a", ON: "b", "asked": "c"}
    asked, learnt = list[list[str]](), {"align": {"epochs": 1, "mixed": 0}, "instruct": {"epochs": 1, "mixed": 0}}
    row = {"name": "all", "count": 9, "values": {"accuracy": 0.5, "shuffled": 0.1, "majority": 0.2}}

    def learn(seed: int, jobs: dict[str, Job]) -> None:
        asked.append(list(jobs))
        for job in jobs.values():
            told = {"answers": [row], "loss": [{"by": "all", "loss": 1.0}], "learnt": learnt}
            Path(job.result).write_text(json.dumps(told))

    arms = {name: Arm(Store(str(tmp_path / name)), 80, 70, 14, ["s"], 5) for name in (OFF, ON)}
    monkeypatch.setattr(curation, "build_arms", lambda *more: arms)
    monkeypatch.setattr(
        curation, "read_manifest", lambda store: SimpleNamespace(fingerprint=fingerprints[Path(store.url).name])
    )
    monkeypatch.setattr(curation, "_learn", learn)
    options = curation._arguments([])

    def pair() -> dict[str, dict[str, Any]]:
        return curation._pair(tmp_path, 0, Store(str(tmp_path / "asked")), options)

    assert pair() == pair()
    fingerprints[ON] = "another"
    pair()
    options.steps = [1, 2]
    pair()
    assert asked == [[OFF, ON], [], [ON], [OFF, ON]]


def _pair(off: float, on: float) -> dict[str, dict[str, Any]]:
    return {
        OFF: {"rows kept": 100, "mixed up": 18, "wrong captions": 5, "all": off, "vqa": 0.8, "_questions": {}},
        ON: {"rows kept": 80, "mixed up": 0, "wrong captions": 1, "all": on, "vqa": 0.9, "_questions": {}},
    }


def test_differences_are_paired_by_seed() -> None:
    rows = lines({0: _pair(0.5, 0.6), 1: _pair(0.7, 0.9)})
    shown = {(row["seed"], row["filter"]): row["all"] for row in rows}
    assert (shown["0", DIFFERENCE], shown["1", DIFFERENCE]) == (0.1, 0.2)
    assert (shown["mean", OFF], shown["mean", ON], shown["mean", DIFFERENCE]) == (0.6, 0.75, 0.15)
    assert shown["standard deviation", DIFFERENCE] == pytest.approx(0.0707, abs=1e-4)
    assert not any(key.startswith("_") for row in rows for key in row)


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([(0.5, 0.6), (0.7, 0.9)], "+15.0 points"),
        ([(0.5, 0.6), (0.7, 0.9)], "more with every seed"),
        ([(0.6, 0.5), (0.9, 0.7)], "more with no seed"),
        ([(0.5, 0.6), (0.9, 0.7)], "no difference to rely on"),
        ([(0.5, 0.6)], "one seed says nothing"),
    ],
)
def test_no_more_is_said_than_the_figures_say(pairs: list[tuple[float, float]], said: str) -> None:
    told = meaning(lines({seed: _pair(*pair) for seed, pair in enumerate(pairs)}), {"vqa"})
    assert said in told["what the filter makes"]
    n = len(pairs)
    assert told["by kind"] == f"vqa +10.0 (more with {n} of {n} seeds)"
    assert f"{18 * n:,} of {100 * n:,} rows kept are mixed up (18.0%)" in told[f"with the filter {OFF}"]
    assert f"0 of {80 * n:,}" in told[f"with the filter {ON}"]
