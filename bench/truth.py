"""Score a finished demo build against the sample web's ground truth.

    uv run python -m bench truth --build BUILD --truth BUILD-web/truth.parquet

Rows of the truth are found in the build by file row. Scored: every planted trouble's end; captions (swapped, and the
hard kinds apart) by CLIP score; duplicates by pair. Captions are judged among rows whose picture was measured and
whose caption says something: clean are the true captions, whatever became of them later.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.harness import report
from pipelines.sample_web.clip_eval import auc, precision_recall, threshold_at_precision
from schemas.errors import WrongData
from stages.families import part_files
from stages.store import Store

CARD = Path(__file__).parent.parent / "pipelines" / "sample_web" / "clip" / "card.json"
COPIES = ("exact_duplicate", "near_requality", "near_half", "near_crop", "near_brightness")
_NOT_A_CAPTION = ("caption_missing", "caption_empty", "caption_repeats", "caption_symbols", "one_pixel", "tiny")


@dataclass(frozen=True, slots=True)
class Fate:
    """One pool row: what is known about it, and what the build did with it."""

    truth: dict[str, Any]
    sample_id: str
    reason: str | None
    """null: kept."""
    threshold: float | None
    clip_score: float | None
    group: str | None

    @property
    def trouble(self) -> str:
        return self.truth["trouble"]

    @property
    def as_expected(self) -> bool:
        """Ended as the truth says; a sound row may also end as a duplicate of its group."""
        expected = self.truth["expected_reason"]
        if expected is None:
            return self.reason is None or (self.reason == "duplicate" and self.truth["duplicate_group"] is not None)
        return self.reason in (expected, *self.truth["also_expected"])


def read_fates(store: Store, truth: Path) -> list[Fate]:
    """Every row of the truth with its end. Raises WrongData where the build is not of that pool."""
    known = pq.read_table(truth).to_pylist()
    rows = sorted(_rows(store, "pool", ["sample_id", "source_row", "url"]), key=lambda r: r["source_row"])
    if [r["url"] for r in rows] != [t["url"] for t in known]:
        raise WrongData(f"{truth} is not the truth of this build's pool", "give the truth.parquet beside its pool")
    ledger = {r["sample_id"]: r for r in _ledger(store)}
    scores = {r["sample_id"]: r["clip_score"] for r in _rows(store, "measures/clip", ["sample_id", "clip_score"])}
    groups = store.read_table("groups/duplicates.parquet", ["sample_id", "group"]).to_pylist()
    group = {r["sample_id"]: r["group"] for r in groups}
    fates = []
    for told, row in zip(known, rows, strict=True):
        name, why = row["sample_id"], ledger.get(row["sample_id"], {})
        fates.append(Fate(told, name, why.get("reason"), why.get("threshold"), scores.get(name), group.get(name)))
    return fates


def _rows(store: Store, family: str, columns: list[str]) -> list[dict[str, Any]]:
    tables = [store.read_table(name, columns) for name in part_files(store, family).values()]
    return pa.concat_tables(tables).to_pylist() if tables else []


def _ledger(store: Store) -> list[dict[str, Any]]:
    columns = ["sample_id", "reason", "threshold"]
    names = [name for name in store.listing("ledger") if name.rsplit("/", 1)[-1] != "counts.parquet"]
    return [row for name in names for row in store.read_table(name, columns).to_pylist()]


def trouble_rows(fates: list[Fate]) -> list[dict[str, Any]]:
    """One line per planted trouble: how many of its rows ended as they ought to, and how the others ended."""
    by_trouble: defaultdict[str, list[Fate]] = defaultdict(list)
    for fate in fates:
        by_trouble[fate.trouble].append(fate)
    lines = []
    for trouble, members in sorted(by_trouble.items()):
        right = sum(f.as_expected for f in members)
        lines.append(
            {
                "what": trouble, "expected": members[0].truth["expected_reason"] or "kept", "rows": len(members),
                "recall": right / len(members),
                "otherwise": _counted(f.reason or "kept" for f in members if not f.as_expected),
            }
        )  # fmt: skip
    return lines


def _counted(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in Counter(names).most_common())


def reason_rows(fates: list[Fate]) -> list[dict[str, Any]]:
    """One line per reason of the ledger: the share of its rows that were planted for it."""
    by_reason: defaultdict[str, list[Fate]] = defaultdict(list)
    for fate in fates:
        if fate.reason is not None:
            by_reason[fate.reason].append(fate)
    return [
        {
            "what": f"reason {reason}", "rows": len(members),
            "precision": sum(f.as_expected for f in members) / len(members),
            "otherwise": _counted(f.trouble for f in members if not f.as_expected),
        }
        for reason, members in sorted(by_reason.items())
    ]  # fmt: skip


def caption_rows(fates: list[Fate], swapped_at: float, hard_at: float) -> list[dict[str, Any]]:
    """Swapped and hard captions against clean ones, at thresholds fixed beforehand, and at the best one afterwards."""
    scored = [f for f in fates if f.clip_score is not None and f.trouble not in _NOT_A_CAPTION]
    clean = _scores(f for f in scored if not f.truth["swapped"] and f.truth["hard_kind"] is None)
    hard = [f for f in scored if f.truth["hard_kind"] is not None]
    kinds = sorted({f.truth["hard_kind"] for f in hard})
    sets = [("caption swapped", _scores(f for f in scored if f.truth["swapped"]), swapped_at, 0.99)]
    sets += [("caption hard, all", _scores(hard), hard_at, 0.95)]
    sets += [
        (f"caption hard: {k}", _scores(f for f in hard if f.truth["hard_kind"] == k), hard_at, None) for k in kinds
    ]
    lines = []
    for what, wrong, at, wanted in (s for s in sets if len(s[1])):
        precision, recall = precision_recall(clean, wrong, at)
        note = f"AUC {auc(clean, wrong):.4f}"
        if wanted is not None:
            best = threshold_at_precision(clean, wrong, wanted)
            note += f"; chosen on this pool, precision ≥ {wanted}: recall {precision_recall(clean, wrong, best)[1]:.4f}"
        precise = precision if wanted is not None else None  # of one kind among all clean rows it says little
        lines.append(
            {
                "what": what, "rows": len(wrong), "threshold": round(at, 4), "recall": recall,
                "precision": precise, "otherwise": note,
            }
        )  # fmt: skip
    return lines


def _scores(fates: Any) -> np.ndarray:
    return np.array([f.clip_score for f in fates], dtype=np.float64)


def duplicate_rows(fates: list[Fate]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Copies found in their original's group, per kind of copy; false pairs; survivors per group."""
    planted: defaultdict[str, list[Fate]] = defaultdict(list)
    for f in fates:
        if f.truth["duplicate_group"] and f.trouble != "repeated_row":
            planted[f.truth["duplicate_group"]].append(f)
    found, total = Counter[str](), Counter[str]()
    for members in planted.values():
        original = next(f for f in members if f.truth["duplicate_kind"] == "original")
        for copy in members:
            if copy is not original:
                total[copy.trouble] += 1
                found[copy.trouble] += copy.group is not None and copy.group == original.group
    lines = [{"what": f"duplicate {t}", "rows": total[t], "recall": found[t] / max(1, total[t])} for t in COPIES]
    near = [t for t in COPIES if t.startswith("near")]
    shares = sum(found[t] for t in near), sum(total[t] for t in near)
    lines.append({"what": "duplicate near, all", "rows": shares[1], "recall": shares[0] / max(1, shares[1])})
    together: defaultdict[str, list[int]] = defaultdict(list)
    for f in fates:
        if f.group is not None:
            together[f.group].append(f.truth["scene_seed"])
    false_pairs = sum(a != b for seeds in together.values() for a, b in combinations(seeds, 2))
    images = sum(f.clip_score is not None for f in fates)
    survivors = Counter(sum(f.reason is None for f in members) for members in planted.values())
    misled = [f for members in planted.values() for f in members if f.reason is None and f.truth["swapped"]]
    facts = {
        "false duplicate pairs": false_pairs,
        "images measured": images,
        "planted groups": len(planted),
        "groups with one survivor": survivors[1],
        "groups with several survivors": sum(n for k, n in survivors.items() if k > 1),
        "groups with none": survivors[0],
        "survivors with a swapped caption": len(misled),
    }
    return lines, facts


def swapped_threshold(fates: list[Fate]) -> float:
    """The one the build used: of the rule that swapped captions were rejected by. NaN where none was."""
    used = [f.threshold for f in fates if f.truth["swapped"] and f.as_expected and f.threshold is not None]
    return Counter(used).most_common(1)[0][0] if used else float("nan")


def run(args: list[str]) -> None:
    """Command of `python -m bench truth`."""
    parser = argparse.ArgumentParser(prog="bench truth")
    parser.add_argument("--build", required=True)
    parser.add_argument("--truth", type=Path, required=True)
    parser.add_argument("--hard-threshold", type=float, default=None, help="default: the small CLIP's card")
    options = parser.parse_args(args)
    fates = read_fates(Store(options.build), options.truth)
    hard_at = options.hard_threshold
    if hard_at is None:
        hard_at = json.loads(CARD.read_text(encoding="utf-8"))["thresholds"]["hard"]
    copies, facts = duplicate_rows(fates)
    captions = caption_rows(fates, swapped_threshold(fates), hard_at)
    kept = sum(f.reason is None for f in fates)
    facts = {"inputs": len(fates), "kept": kept, "rejected": len(fates) - kept, **facts}
    report("truth", [*captions, *copies, *trouble_rows(fates), *reason_rows(fates)], facts)
