"""What a change makes stale: exactly the files that depend on it, each with the reason. And what a plan refuses."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.build import BuildOptions, build
from pipelines.plan import Plan, check_fit, make_plan
from pipelines.recipe_file import Loaded, load
from pipelines.steps import STEP_FILES
from schemas.errors import WrongData, WrongRequest
from schemas.row import Int32
from schemas.sample import Candidate, Key
from stages.base import Stage
from stages.download.stage import Download
from stages.measure.pdq import PdqMeasure
from stages.store import Store
from tests.conftest import RECIPE, Web
from tests.pipelines.test_kill import NO_CLIP

BASE = [*NO_CLIP, "engine.kind=local"]


@pytest.fixture
def built(without_clip: Path) -> Path:
    return without_clip


@pytest.fixture
def plan(web: Web, built: Path) -> Callable[..., Plan]:
    def make(*settings: str) -> Plan:
        return make_plan(load(str(RECIPE), [*web.settings, *BASE, *settings]), Store(str(built)))

    return make


def stale(plan: Plan) -> dict[str, dict[str, int]]:
    """Family or step → why → files."""
    found = {f: dict(plan.family(f).reasons()) for f in (*plan.families(), "conversations")}
    found |= {s: {why: 1} if (why := plan.step(s)) else {} for s in STEP_FILES}
    return {name: why for name, why in found.items() if why}


FOLLOWS = {"its input comes first": 1}
IF = {"if its input changes": 1}
AFTER_SELECT = {"conversations": {"if its input changes": 6}, "final": FOLLOWS, "shards": FOLLOWS}


def test_nothing_is_stale_after_a_build(plan: Callable[..., Plan]) -> None:
    assert stale(plan()) == {}


def test_runtime_settings_make_nothing_stale(plan: Callable[..., Plan]) -> None:
    assert (
        stale(plan("download.concurrency=3", "engine.workers=7", "download.connect_to={'*.test': '127.0.0.1:9'}")) == {}
    )


def test_a_rule_makes_only_the_selection_stale(plan: Callable[..., Plan]) -> None:
    found = stale(plan("select.rules.0.keep=width > 70"))
    why = {"config rules too_small keep least(width, height) > 63 → width > 70": 1}
    assert found == {"select": why, **AFTER_SELECT}


def test_shard_settings_make_only_shards_stale(plan: Callable[..., Plan]) -> None:
    assert stale(plan("shards.seed=3")) == {"shards": {"config seed 0 → 3": 1}}


def test_a_dedup_setting_makes_only_groups_stale(plan: Callable[..., Plan]) -> None:
    found = stale(plan("dedup.near.radius=20"))
    assert found == {"dedup": {"config near radius 31 → 20": 1}, "select": IF, **AFTER_SELECT}


def test_a_download_setting_makes_every_part_stale(plan: Callable[..., Plan]) -> None:
    found = stale(plan("download.max_bytes=100000"))
    assert found["parts"] == {"config max_bytes 4000000 → 100000": 6}
    assert found["measures/pdq"] == {"if its input changes": 6}


def test_a_stage_version_makes_its_family_stale(plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PdqMeasure, "version", 99)
    found = stale(plan())
    assert found.keys() == {"measures/pdq", "dedup", "select", *AFTER_SELECT}
    assert next(iter(found["measures/pdq"])).endswith("→ 99")
    assert found["dedup"] == FOLLOWS


def edited_pool(web: Web, folder: Path, column: str, row: int, value: Any) -> str:
    table = pq.read_table(web.folder / "pool.parquet")
    values = table[column].to_pylist()
    values[row] = value
    at = table.column_names.index(column)
    pq.write_table(
        table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type)),
        folder / "pool.parquet",
    )
    return f"pool.paths=[{json.dumps(str(folder / 'pool.parquet'))}]"


def test_one_changed_url_makes_one_part_stale(web: Web, plan: Callable[..., Plan], tmp_path: Path) -> None:
    found = stale(plan(edited_pool(web, tmp_path, "url", 100, "http://new.test/a.jpg")))
    assert found["pool"] == {"input pool rows changed": 1} and sum(found["parts"].values()) == 1


def test_an_extra_column_downloads_nothing(web: Web, built: Path, plan: Callable[..., Plan], tmp_path: Path) -> None:
    copy = tmp_path / "build"
    shutil.copytree(built, copy)
    setting = edited_pool(web, tmp_path, "license", 100, "another licence")
    before = web.hits()
    done = build(load(str(RECIPE), [*web.settings, *BASE, setting]), Store(str(copy)), BuildOptions())
    assert web.hits() == before and stale(done) == {}
    assert stale(plan(setting))["pool"] == {"input pool rows changed": 1}
    changed = {n for n in Store(str(copy)).walk() if (copy / n).read_bytes() != (built / n).read_bytes()}
    assert {n for n in changed if n.startswith(("parts/", "measures/"))} == set()


def test_a_shorter_pool_leaves_nothing_behind(web: Web, built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "build"
    shutil.copytree(built, copy)
    pq.write_table(pq.read_table(web.folder / "pool.parquet").slice(0, 80), tmp_path / "pool.parquet")
    setting = f"pool.paths=[{json.dumps(str(tmp_path / 'pool.parquet'))}]"
    build(load(str(RECIPE), [*web.settings, *BASE, setting]), Store(str(copy)))
    assert len(list((copy / "pool").iterdir())) == len(list((copy / "measures/pdq").iterdir())) == 2
    assert len(list((copy / "parts").iterdir())) == 4


def test_weights_make_their_family_stale(web: Web, built: Path, tmp_path: Path) -> None:
    model = tmp_path / "clip"
    shutil.copytree(RECIPE.parent.parent / "sample_web" / "clip", model)
    settings = [*web.settings, *BASE, f"measure.clip={{model: 'local-dir:{model}'}}"]
    before = make_plan(load(str(RECIPE), settings), Store(str(built))).measures[-1].identity()
    weights = model / "open_clip_model.safetensors"
    raw = bytearray(weights.read_bytes())
    raw[-1] ^= 1
    weights.write_bytes(raw)
    after = make_plan(load(str(RECIPE), settings), Store(str(built))).measures[-1].identity()
    assert before != after and str(tmp_path) not in json.dumps(after)


class Wants(Key):
    depth: Int32


class NeedsDepth(Stage):
    name, accepts, emits = "measure/fog", Wants, Key


class NeedsTextWidth(Stage):
    class Narrow(Key):
        url: Int32

    name, accepts, emits = "measure/odd", Narrow, Key


def test_stages_that_do_not_fit_are_refused() -> None:
    with pytest.raises(WrongRequest, match=r"stage 'measure/fog' needs column 'depth'"):
        check_fit([NeedsDepth(load(str(RECIPE)).recipe.download)])
    with pytest.raises(WrongRequest, match=r"stage 'measure/odd' needs column 'url' as int32, it comes as string"):
        check_fit([NeedsTextWidth(load(str(RECIPE)).recipe.download)], have=Candidate)
    check_fit([Download(load(str(RECIPE)).recipe.download)])


def test_an_empty_pool_is_wrong_data(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"url": pa.array([], pa.string()), "caption": pa.array([], pa.string())}), tmp_path / "p.parquet"
    )
    loaded = load(str(RECIPE), [*BASE, "pool.paths=[p.parquet]", "pool.columns={}"])
    with pytest.raises(WrongData, match="the pool has no rows"):
        make_plan(Loaded(loaded.recipe, str(tmp_path)), Store(str(tmp_path / "b")))
