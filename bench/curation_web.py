"""The webs of `bench curation`: captions and boxes mixed up on purpose, built with and without the filter.

Mixed up is caption and boxes together, as a bad alt text and a wrong annotation do: the template teacher writes its
conversations from the boxes, so these are of another picture, too. The truth of the sample web says nothing of it;
`mixed.parquet` beside it does.
"""

import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from bench.truth import read_fates
from pipelines.build import BuildOptions, build
from pipelines.demo import RECIPE
from pipelines.demo_train import BOXED
from pipelines.recipe_file import load
from pipelines.sample_web.payloads import Edit, crop_offsets
from pipelines.sample_web.pool import POOL_SCHEMA, SampleWeb, write_pool
from pipelines.sample_web.server import SampleWebServer
from pipelines.sample_web.troubles import Trouble
from pipelines.terminal import watched
from stages.store import Store

SHARE = 0.2
"""Of the sound pictures."""
FILTER = "low_clip"
"""The rule that the arms differ in."""
OFF, ON = "off", "on"
ASKED_SEED = 80
"""Web seed of the pictures that are only asked about; no other seed's."""
MIXED = "mixed.parquet"
_TRIES = 100
_MIXED_SCHEMA = pa.schema(
    [pa.field("row", pa.int64()), pa.field("source_id", pa.string()), pa.field("taken_from", pa.int64())]
)


@dataclass(frozen=True, slots=True)
class Arm:
    """A build, and what is wrong in it."""

    store: Store
    kept: int
    sound: int
    """Pictures of the pool that nothing was wrong with before the mixing."""
    planted: int
    """Rows of the pool that were mixed up."""
    mixed: list[str]
    """sample_ids of the mixed-up rows that are kept."""
    wrong_captions: int
    """Rows kept whose caption alone is wrong: the sample web's own `swapped` and `hard_caption`."""


def mix_up(web: SampleWeb, share: float = SHARE) -> Path:
    """Give the rows of a share of the sound pictures caption and boxes of another, the boxes scaled to the picture.

    They are drawn by the web's seed among pictures without copies, of which dedup would keep the one that fits its
    caption; each takes from the next one in a drawn order: nothing is doubled, nothing lost. A picture whose counts by
    label are the same is no other. Writes pool.parquet anew, and mixed.parquet.
    """
    pool, truth = pq.read_table(web.pool).to_pylist(), pq.read_table(web.truth).to_pylist()
    rng = Random(f"curation:{web.seed}")
    alone = [i for i in sound(truth) if truth[i]["duplicate_group"] is None]
    chosen = rng.sample(alone, round(share * pictures(truth)))
    order = _others(pool, chosen, rng)
    told = [{"row": to, "source_id": pool[to]["source_id"], "taken_from": taken} for to, taken in order]
    changed = {
        to: {"caption": pool[taken]["caption"], "boxes": _scaled(pool[taken]["boxes"], truth[taken], truth[to])}
        for to, taken in order
    }
    mixed = [row | changed.get(i, {}) for i, row in enumerate(pool)]
    pq.write_table(pa.Table.from_pylist(mixed, POOL_SCHEMA), web.pool)
    path = web.folder / MIXED
    pq.write_table(pa.Table.from_pylist(sorted(told, key=lambda one: one["row"]), _MIXED_SCHEMA), path)
    return path


def sound(truth: list[dict[str, Any]]) -> list[int]:
    """Rows that ought to be kept, or lost to their duplicates alone. Not those that a later row repeats: the repetition
    would be none any more."""
    urls = Counter(told["url"] for told in truth)
    return [i for i, told in enumerate(truth) if told["expected_reason"] is None and urls[told["url"]] == 1]


def pictures(truth: list[dict[str, Any]]) -> int:
    """Sound rows, those of a duplicate group as one."""
    return len({truth[i]["duplicate_group"] or i for i in sound(truth)})


def shown_size(told: dict[str, Any]) -> tuple[int, int]:
    """Width and height of the picture that a row's URL serves, turned as its EXIF tag says."""
    scene = json.loads(told["scene"])
    width, height = scene["width"], scene["height"]
    if told["edit"] == Edit.half:
        return width // 2, height // 2
    dx, dy = crop_offsets(width, height) if told["edit"] == Edit.crop else (0, 0)
    return width - 2 * dx, height - 2 * dy


def _others(pool: list[dict[str, Any]], chosen: list[int], rng: Random) -> list[tuple[int, int]]:
    """(row, row that it takes from): one circle through all, drawn until no two neighbours show the same things."""
    things = {i: Counter(box["label"] for box in pool[i]["boxes"]) for i in chosen}
    for _ in range(_TRIES):
        rng.shuffle(chosen)
        pairs = list(zip(chosen, [*chosen[1:], *chosen[:1]], strict=True))
        if all(things[a] != things[b] for a, b in pairs):
            return pairs
    raise AssertionError(f"{len(chosen)} rows could not be mixed up in {_TRIES} tries: too few differ")


def _scaled(boxes: list[dict[str, Any]], of: dict[str, Any], to: dict[str, Any]) -> list[dict[str, Any]]:
    (w, h), (width, height) = shown_size(of), shown_size(to)
    sx, sy = width / w, height / h
    return [
        {"label": b["label"], "x": b["x"] * sx, "y": b["y"] * sy, "w": b["w"] * sx, "h": b["h"] * sy} for b in boxes
    ]


# ---------------------------------------------------------------------- builds


def build_arms(folder: Path, rows: int, seed: int, engine: str) -> dict[str, Arm]:
    """Arm → its build, over one web. The second starts from a copy of the first: what is downloaded and measured is the
    same. What is there already is not made again."""
    web = write_pool(folder / "web", rows=rows, seed=seed, boxed=BOXED)
    mix_up(web)
    stores = {arm: Store(str(folder / arm)) for arm in (OFF, ON)}
    with SampleWebServer(web.folder) as server:
        settings = _settings(web, server, engine)
        _build([*settings, f"select.rules={json.dumps(rules_without(FILTER))}"], stores[OFF])
        if not (folder / ON).exists():
            shutil.copytree(folder / OFF, folder / "copying", dirs_exist_ok=True)
            (folder / "copying").rename(folder / ON)
        _build(settings, stores[ON])
    return {arm: looked(store, web) for arm, store in stores.items()}


def build_asked(folder: Path, rows: int, engine: str) -> Store:
    """Pictures that are only asked about: the sound rows of another web, all of them in split val."""
    web = write_pool(folder / "web", rows=rows, seed=ASKED_SEED, boxed=BOXED)
    truth = pq.read_table(web.truth).to_pylist()
    # Boxes name colours, and a grey picture has none.
    rows_asked = [i for i in sound(truth) if truth[i]["trouble"] != Trouble.grey]
    pq.write_table(pq.read_table(web.pool).take(rows_asked), web.pool)
    store = Store(str(folder / "build"))
    with SampleWebServer(web.folder) as server:
        _build([*_settings(web, server, engine), "shards.val_share=1.0"], store)
    return store


def rules_without(reason: str) -> list[dict[str, Any]]:
    """The demo's rules, as YAML has them, but for one."""
    rules = load(str(RECIPE)).recipe.select.rules
    kept = [rule for rule in rules if rule.reason != reason]
    if len(kept) != len(rules) - 1:
        raise AssertionError(f"{RECIPE} has not one rule {reason!r}")
    return [rule.model_dump(mode="json", exclude_none=True) for rule in kept]


def looked(store: Store, web: SampleWeb) -> Arm:
    """What of the mixed-up rows, and of the wrong captions that the sample web plants, a build keeps."""
    truth = pq.read_table(web.truth).to_pylist()
    mixed = set(pq.read_table(web.folder / MIXED)["row"].to_pylist())
    kept = [fate for fate in read_fates(store, web.truth) if fate.reason is None]
    wrong = (Trouble.swapped, Trouble.hard_caption)
    return Arm(
        store,
        len(kept),
        pictures(truth),
        len(mixed),
        sorted(fate.sample_id for fate in kept if fate.truth["row"] in mixed),
        sum(fate.trouble in wrong for fate in kept),
    )


def _settings(web: SampleWeb, server: SampleWebServer, engine: str) -> list[str]:
    return [
        f"pool.paths=[{json.dumps(str(web.pool.resolve()))}]",
        f"download.connect_to={json.dumps(server.connect_to)}",
        f"engine.kind={engine}",
        "masks=null",
    ]


def _build(settings: list[str], store: Store) -> None:
    loaded = load(str(RECIPE), settings)
    watched(False, lambda watcher: build(loaded, store, BuildOptions(watcher=watcher)))
