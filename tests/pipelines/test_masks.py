"""Masks in a build: their truth, their rules, what is made again and what is not, what synthesis takes from them."""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipelines.build import build
from pipelines.explain import explain, story
from pipelines.explain_picture import draw
from pipelines.plan import make_plan
from pipelines.recipe_file import load
from pipelines.sample_web.scenes import make_scene
from pipelines.stats import stats
from pipelines.verify import verify
from schemas.errors import WrongRequest
from schemas.mask import Rle
from schemas.stream import SourceConfig, StreamConfig
from stages.masks.rle import decode
from stages.store import Store
from stages.stream.batches import BatchReader
from tests.conftest import RECIPE, Cli, Web, sets
from tests.pipelines.asking import rows
from tests.pipelines.test_kill import NO_CLIP, result

QUICK = {"backend": "grabcut", "grabcut": {"side": 96}}
"""A third of the time of the default, for a few hundredths of IoU."""
GRABCUT = QUICK | {"keep": {"require": False}}


def settings(web: Web, masks: dict[str, Any], *more: str) -> list[str]:
    return [*web.settings, *NO_CLIP, "engine.kind=local", f"masks={json.dumps(masks)}", *more]


def run(web: Web, folder: Path, masks: dict[str, Any], *more: str) -> Store:
    store = Store(str(folder))
    build(load(str(RECIPE), settings(web, masks, *more)), store)
    return store


@pytest.fixture(scope="module")
def masked(web: Web, without_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build with GrabCut's masks, made from one that had none. Read it, or copy it."""
    folder = Path(shutil.copytree(without_clip, tmp_path_factory.mktemp("masked") / "build"))
    run(web, folder, GRABCUT)
    return folder


@pytest.fixture
def folder(masked: Path, tmp_path: Path) -> Path:
    """A build of one's own, all done."""
    return Path(shutil.copytree(masked, tmp_path / "build"))


# ------------------------------------------------------------------------------------------------ what is there


def test_masks_are_where_the_scenes_have_their_objects(masked: Path, web: Web) -> None:
    scores = []
    for sample_id, scene in _plain_scenes(masked, web):
        truth = dict(scene)
        query = f"SELECT label, rle FROM masks WHERE sample_id = '{sample_id}'"
        for label, rle in rows(Store(str(masked)), query):
            if label in truth:
                found = decode(Rle(**rle))
                scores.append((found & truth[label]).sum() / (found | truth[label]).sum())
    assert len(scores) > 40
    assert np.mean(scores) >= 0.85


def _plain_scenes(build: Path, web: Web) -> Iterator[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Samples whose picture is the scene as drawn, with its objects that no other has the name of."""
    names = dict(rows(Store(str(build)), "SELECT source_row, sample_id FROM samples WHERE kept AND mask_count > 0"))
    for told in pq.read_table(web.folder / "truth.parquet").to_pylist():
        if told["row"] in names and told["edit"] == "none" and told["orientation"] == 1 and told["scene"]:
            scene = make_scene(told["scene_seed"])
            labels = [item.label for item in scene.objects]
            both = zip(labels, scene.masks(), strict=True)
            yield names[told["row"]], [(label, mask) for label, mask in both if labels.count(label) == 1]


def test_a_shard_has_the_masks_that_the_columns_have(masked: Path) -> None:
    import webdataset as wds

    store, seen = Store(str(masked)), 0
    wanted = dict(rows(store, "SELECT sample_id, list(rle.counts ORDER BY place) FROM masks GROUP BY ALL"))
    for tar in sorted(masked.glob("shards/*.tar")):
        for sample in wds.WebDataset(str(tar), shardshuffle=False).decode():
            masks = sample["masks.json"]
            assert [m["segmentation"]["counts"] for m in masks] == wanted.get(sample["__key__"], [])
            assert all(len(m["bbox"]) == 4 and m["area"] > 0 for m in masks)
            assert sample["json"]["mask_count"] == len(masks)
            assert "masks" not in sample["json"]
            seen += bool(masks)
    assert seen > 20
    assert verify(store).ok


def test_a_stream_gives_the_masks_where_they_are_asked_for(masked: Path) -> None:
    sources = [SourceConfig(path=str(masked))]
    reader = BatchReader(StreamConfig(sources=sources, members=["image", "masks.json"], batch=16))
    counts = dict(rows(Store(str(masked)), "SELECT sample_id, mask_count FROM segmented WHERE masks IS NOT NULL"))
    seen = {i: json.loads(bytes(m)) for b in reader for i, m in zip(b.sample_id, b.members["masks.json"], strict=True)}
    assert {i: len(masks) for i, masks in seen.items()} == counts


def test_a_changed_mask_in_a_shard_is_found(folder: Path) -> None:
    tar = folder / "shards" / "train-000000.tar"
    data = tar.read_bytes()
    place = data.index(b'"counts":"') + 12
    tar.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    assert any("masks.json" in f.what for f in verify(Store(str(folder))).findings)


# ------------------------------------------------------------------------------------------------ rules


def test_rules_reject_with_their_numbers_and_run_no_model(folder: Path, web: Web) -> None:
    store = Store(str(folder))
    before = {name: store.seal(name).fingerprint for name in store.listing("masks")}  # pyright: ignore[reportOptionalMemberAccess]
    written = {name: (folder / name).stat().st_mtime_ns for name in before}
    own = [{"reason": "crowded", "keep": "mask_coverage <= 0.05"}]
    run(web, folder, QUICK | {"keep": {"smallest": 2_000, "agreement": 0.9, "rules": own}})
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == written
    gone = rows(store, "SELECT sample_id, reason, value, threshold FROM ledger WHERE stage = 'masks/rules'")
    facts = {
        r[0]: r[1:]
        for r in rows(store, "SELECT sample_id, mask_count, mask_largest, box_agreement, mask_coverage FROM segmented")
    }
    assert {reason for _, reason, *_ in gone} == {"no_mask", "mask_too_small", "box_disagrees", "crowded"}
    for sample_id, reason, value, threshold in gone:
        count, largest, agreement, coverage = facts[sample_id]
        number, limit = {
            "no_mask": (count, 0),
            "mask_too_small": (largest, 2_000),
            "box_disagrees": (agreement, 0.9),
            "crowded": (coverage, 0.05),
        }[reason]
        assert (value, threshold) == (pytest.approx(number), pytest.approx(limit))
        assert number > limit if reason == "crowded" else number <= limit
    line = next(line for line in stats(store) if line.stage == "masks/rules")
    assert sum(line.rejected.values()) == len(gone)
    assert verify(store).ok


def test_a_plan_says_that_only_the_rules_are_stale(folder: Path, web: Web) -> None:
    loaded = load(str(RECIPE), settings(web, QUICK | {"keep": {"smallest": 50}}))
    plan = make_plan(loaded, Store(str(folder)))
    assert not plan.family("masks").stale
    assert len(plan.family("masked").stale) == plan.parts


def test_a_threshold_of_select_makes_masks_only_where_rows_changed(folder: Path, web: Web) -> None:
    store = Store(str(folder))
    strict = next(setting for setting in NO_CLIP if "> 63" in setting).replace("> 63", "> 140")
    plan = make_plan(load(str(RECIPE), settings(web, GRABCUT, strict)), store)
    assert {s.why for s in plan.family("masks").stale} == {"if its input changes"}
    run(web, folder, GRABCUT, strict)
    assert verify(store).ok
    assert not make_plan(load(str(RECIPE), settings(web, GRABCUT, strict)), store).family("masks").stale


# ------------------------------------------------------------------------------------------------ and synthesis


def test_masks_rejected_are_not_written_about(folder: Path, web: Web) -> None:
    store = run(web, folder, QUICK)
    counts = rows(
        store, "SELECT count(mask_rules), count(conversations) FROM masked JOIN synthesized USING (sample_id)"
    )
    kept = rows(store, "SELECT count(*) FROM masked WHERE mask_rules IS NOT NULL AND reason IS NULL")[0][0]
    assert counts[0][0] > kept == counts[0][1] > 0


def test_what_masks_found_grounds_what_is_written(folder: Path, web: Web) -> None:
    store = run(web, folder, GRABCUT, "synthesize.boxes=masks")
    query = "SELECT list_contains(flatten([t.evidence for t in turns]), 'box:0') FROM conversations"
    assert any(found for (found,) in rows(store, query))
    plan = make_plan(load(str(RECIPE), settings(web, GRABCUT, "synthesize.boxes=masks")), store)
    assert not plan.family("conversations").stale
    assert verify(store).ok


def test_masks_of_the_boxes_that_conversations_speak_of(folder: Path, web: Web) -> None:
    about = GRABCUT | {"boxes_from": "conversations"}
    store = run(web, folder, about)
    spoken = rows(
        store,
        """SELECT DISTINCT sample_id, e FROM (
            SELECT sample_id, unnest(flatten([t.evidence for t in turns])) AS e FROM conversations)
        WHERE starts_with(e, 'box:')""",
    )
    masks = rows(store, "SELECT DISTINCT sample_id, 'box:' || prompt_index FROM masks")
    assert masks and set(masks) <= set(spoken)
    assert [line.stage for line in stats(store)][-3:] == ["synthesize", "masks", "masks/rules"]
    assert verify(store).ok


# ------------------------------------------------------------------------------------------------ requests, stories


@pytest.mark.parametrize(
    ("masks", "more", "says"),
    [
        (GRABCUT | {"clip": True}, [], "measure.clip"),
        (GRABCUT | {"boxes_from": "conversations"}, ["synthesize=null"], "needs synthesize"),
        (GRABCUT | {"boxes_from": "conversations"}, ["synthesize.boxes=masks"], "run before it"),
        ({"keep": {"rules": [{"reason": "odd", "keep": "mask_size > 3"}]}}, [], "mask_size"),
        ({"keep": {"rules": [{"reason": "no_mask", "keep": "mask_count > 3"}]}}, [], "the name of two rules"),
    ],
)
def test_what_cannot_be_is_refused(web: Web, tmp_path: Path, masks: dict[str, Any], more: list[str], says: str) -> None:
    with pytest.raises(WrongRequest, match=says):
        make_plan(load(str(RECIPE), settings(web, masks, *more)), Store(str(tmp_path / "none")))


def test_a_recipe_without_masks_has_none_in_its_shards(folder: Path, web: Web, without_clip: Path) -> None:
    build(load(str(RECIPE), [*web.settings, *NO_CLIP, "engine.kind=local"]), Store(str(folder)))
    assert verify(Store(str(folder))).ok
    tars = {name: hash_ for name, hash_ in result(folder).items() if name.startswith("shards/")}
    assert tars == {name: hash_ for name, hash_ in result(without_clip).items() if name.startswith("shards/")}


def test_explain_tells_of_the_masks(masked: Path) -> None:
    store = Store(str(masked))
    sample_id, count = rows(store, "SELECT sample_id, mask_count FROM segmented WHERE mask_count > 1 LIMIT 1")[0]
    told = story(explain(store, sample_id))
    assert f"{count} masks" in told


def test_explain_draws_the_masks(masked: Path, cli: Cli, tmp_path: Path) -> None:
    query = "SELECT sample_id, width, height, masks FROM samples WHERE mask_count > 1 ORDER BY sample_id LIMIT 1"
    sample_id, width, height, masks = rows(Store(str(masked)), query)[0]
    cli("explain", str(masked), sample_id, "--picture", str(tmp_path / "new" / "masks.png"))
    drawn = np.asarray(Image.open(tmp_path / "new" / "masks.png"))
    assert abs(drawn.shape[1] / drawn.shape[0] - width / height) < 0.05
    plain = tmp_path / "plain.png"
    none = explain(Store(str(masked)), sample_id) | {"masks": None}
    draw(Store(str(masked)), none, plain)
    differs = (drawn != np.asarray(Image.open(plain))).any(2).mean()
    assert differs > 0.5 * sum(m["area"] for m in masks) / (width * height)


@pytest.mark.parametrize(("where", "name"), [("kept", "masks.gif"), ("stage = 'download'", "masks.png")])
def test_a_picture_that_cannot_be_drawn_is_refused(
    masked: Path, tmp_path: Path, cli: Cli, where: str, name: str
) -> None:
    sample_id = rows(Store(str(masked)), f"SELECT sample_id FROM samples WHERE {where} LIMIT 1")[0][0]
    cli("explain", str(masked), sample_id, "--picture", str(tmp_path / name), code=2)
    assert not (tmp_path / name).exists()


# ------------------------------------------------------------------------------------------------ kills


def _killed(web: Web, cli: Cli, start: Path, out: Path, seconds: float) -> dict[str, str]:
    """A build without masks gets them, is killed on the way, and is run again."""
    shutil.copytree(start, out)
    arguments = ["build", str(RECIPE), "--out", str(out), "--engine", "local", "--json"]
    arguments += sets([*web.settings, *NO_CLIP, f"masks={json.dumps(GRABCUT)}"])
    process = cli.start(*arguments)
    deadline = time.monotonic() + 60
    while not list(out.glob("masks/*.parquet")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(seconds)
    process.kill()
    process.communicate()
    cli(*arguments)
    return result(out)


def test_killed_among_masks(web: Web, cli: Cli, masked: Path, without_clip: Path, tmp_path: Path) -> None:
    assert _killed(web, cli, without_clip, tmp_path / "build", 0.1) == result(masked)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_killed_among_masks_at_random(
    web: Web, cli: Cli, masked: Path, without_clip: Path, tmp_path: Path, seed: int
) -> None:
    seconds = random.Random(seed).uniform(0.0, 2.0)
    assert _killed(web, cli, without_clip, tmp_path / "build", seconds) == result(masked)
