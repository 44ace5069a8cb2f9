"""A lying teacher against the checks: planted errors of eight kinds among as many true conversations.

    uv run python -m bench lies [--photos ../shared/data]

Contexts: scenes of the sample web, and photographs with COCO boxes. Each kind is scored alone: recall is the share of
its planted errors that its check finds in the planted turns; precision the share of that check's findings (one per
conversation) that stand in a conversation with that kind of error. Phrasings are in tests/stages/synthesize: the first
half developed the checks, the second was held out and then learnt from, too. The fresh ones were written before the
last change to a pattern and tried after it: theirs are the figures to go by.
Kinds of error that no context of a set allows
(colours in COCO boxes, which carry none) have no row.
"""

import argparse
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from bench.harness import report, table
from schemas.sample import Box
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.registry import examine
from stages.synthesize.context import Context, TextLine
from tests.stages.synthesize.liar import KINDS, SIGNS, Liar, Told, scene_context

PLANTED = 500
SCENES = 250
PHRASINGS = ("last", "third", "fresh", "second", "first")


@dataclass
class Score:
    """Of one set of contexts. `missed` and `false`: (what was planted, finding or None, the conversation)."""

    told: list[tuple[Told, list[Finding]]] = field(default_factory=list)

    def rows(self, where: str) -> list[dict[str, Any]]:
        lines = []
        for kind, check in KINDS.items():
            planted = [(t, f) for t, f in self.told if t.kind == kind]
            if not planted:
                continue
            caught = sum(any(x.check is check and x.turn in t.turns for x in f) for t, f in planted)
            anyhow = sum(bool(f) for _, f in planted)
            fired = [t for t, f in self.told if any(x.check is check for x in f)]
            right = sum(t.kind == kind for t in fired)
            lines.append({
                "contexts": where, "kind": kind, "planted": len(planted), "recall": caught / len(planted),
                "precision": right / len(fired) if fired else None, "rejected for any reason": anyhow / len(planted),
            })  # fmt: skip
        return lines

    def clean_rejected(self) -> int:
        return sum(bool(f) for t, f in self.told if t.kind is None)

    def faults(self) -> Iterable[tuple[str, Told, list[Finding]]]:
        for told, findings in self.told:
            wanted = KINDS[told.kind] if told.kind else None
            if wanted and not any(f.check is wanted and f.turn in told.turns for f in findings):
                yield "missed", told, findings
            wrong = [f for f in findings if f.check is not wanted]
            if wrong:
                yield "false", told, wrong


def photo_contexts(folder: Path) -> list[Context]:
    """Photographs with their COCO boxes and captions; text lines are made up, since COCO has none."""
    rows = pq.read_table(folder / "photos.parquet", columns=["file", "width", "height", "captions", "boxes"])
    told = rows.to_pylist()
    vocabulary = frozenset(b["label"] for row in told for b in row["boxes"])
    found = []
    for i, row in enumerate(told):
        boxes = tuple(Box(**b) for b in row["boxes"])
        texts = (TextLine(text=SIGNS[i % len(SIGNS)], x=4, y=4, w=80, h=16),)
        captions = tuple(row["captions"] or ())
        found.append(Context(Path(row["file"]).stem, row["width"], row["height"], captions, boxes, vocabulary, texts))
    return [c for c in found if c.boxes]


def score(contexts: list[Context], liar: Liar, planted: int = PLANTED) -> Score:
    """`planted` errors, spread over the kinds, and as many true conversations."""
    result, config = Score(), ChecksConfig()
    for i in range(planted):
        context = contexts[i % len(contexts)]
        told = liar.true(context, i)
        result.told.append((told, examine(told.draft, context, config)))
    made, turn, kinds = 0, 0, list(KINDS)
    while made < planted and turn < 20 * planted:
        context, kind = contexts[(turn // len(kinds)) % len(contexts)], kinds[turn % len(kinds)]
        lie = liar.lie(context, kind, turn)
        turn += 1
        if lie is not None:
            made += 1
            result.told.append((lie, examine(lie.draft, context, config)))
    return result


def run(args: list[str]) -> None:
    """Command of `python -m bench lies`."""
    parser = argparse.ArgumentParser(prog="bench lies")
    parser.add_argument("--photos", type=Path, default=None, help="folder with photos.parquet")
    parser.add_argument("--phrasings", choices=PHRASINGS, action="append", help="default: all, fresh ones first")
    parser.add_argument("--faults", action="store_true", help="print what was missed or wrongly found; write nothing")
    options = parser.parse_args(args)
    sets = {"sample web": [scene_context(seed) for seed in range(SCENES)]}
    if options.photos:
        sets["photographs"] = photo_contexts(options.photos)
    lines: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for which, (where, contexts) in product(options.phrasings or PHRASINGS, sets.items()):
        result = score(contexts, Liar(which))
        lines += [{"phrasings": which, **row} for row in result.rows(where)]
        facts[f"{which}, {where}: true conversations rejected, of {PLANTED}"] = result.clean_rejected()
        if options.faults:
            for what, told, findings in result.faults():
                print(what, told.kind, told.context.sample_id, told.turns, told.draft.turns, findings, sep=" | ")
    if options.faults:
        print("\n".join(table(lines)), facts)
    else:
        report("lies", lines, facts)
