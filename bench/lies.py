"""A lying teacher against the checks: planted errors of nine kinds among as many true conversations.

    uv run python -m bench lies [--photos ../shared/data] [--gpt4 FOLDER]

Contexts: scenes of the sample web, and photographs with COCO boxes. Each kind is scored alone: recall is the share of
its planted errors that its check finds in the planted turns; precision the share of that check's findings (one per
conversation) that stand in a conversation with that kind of error. Kinds of error that no context of a set allows
(colours in COCO boxes, which carry none) have no row.

Sets of phrasings are in tests/stages/synthesize, by one author. `last` and `sixth` were each written before a round of
work on the checks and run once after it: results/lies-held-out.md and results/lies-held-out-2.md, the figures to go by.
Then some causes of their misses were mended, so that by now all have been learnt from.

Text by others, about pictures whose captions the checks do not get, with nouns or numbers swapped: COCO's human
captions (with --photos), and GPT-4's answers about 30 pictures of COCO val2014, published with LLaVA (--gpt4:
boxes.jsonl and answers.jsonl, there llava/eval/table/caps_boxes_coco2014_val_80.jsonl and
playground/data/coco2014_val_gpt4_qa_30x3.jsonl).
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pyarrow.parquet as pq

from bench.harness import report, table
from schemas.sample import Box
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.registry import examine
from stages.synthesize.context import Context, Draft, TextLine
from tests.stages.synthesize import real
from tests.stages.synthesize.liar import KINDS, SIGNS, Liar, Told, scene_context

PLANTED = 500
SCENES = 250
HOW = {
    "sixth": "learnt from",
    "last": "learnt from",
    "third": "learnt from",
    "fresh": "learnt from",
    "second": "learnt from",
    "first": "learnt from",
}
PHRASINGS = tuple(HOW)


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


Said = tuple[Context, str, str]
"""What is known of a picture, a question, its true answer as somebody else wrote it."""


def human(photos: list[Context]) -> Iterator[Said]:
    """Captions by COCO's annotators, of pictures whose captions the checks do not get."""
    for context in photos:
        for caption in context.captions:
            yield replace(context, captions=(), texts=None), "Describe the picture.", " ".join(caption.split())


def gpt4(folder: Path, vocabulary: frozenset[str]) -> Iterator[Said]:
    """LLaVA's reference answers: a conversation turn, a detailed description and a complex reasoning per picture."""
    lines = [json.loads(line) for line in (folder / "boxes.jsonl").read_text().splitlines()]
    side = 1000
    boxes = {
        line["id"]: tuple(
            Box(label=i["category"], x=x * side, y=y * side, w=(right - x) * side, h=(bottom - y) * side)
            for i in line["instances"]
            for x, y, right, bottom in [i["bbox"]]
        )
        for line in lines
    }
    known = vocabulary | {b.label for found in boxes.values() for b in found if b.label}
    for line in (folder / "answers.jsonl").read_text().splitlines():
        told = json.loads(line)
        if told["id"] in boxes:
            context = Context(told["id"], side, side, (), boxes[told["id"]], known)
            yield context, told["instruction"], told["output"]


def score_real(told: list[Said]) -> Score:
    """Each answer as it is, and with a noun swapped, and with a number swapped, where it has one."""
    result, config = Score(), ChecksConfig()
    swaps = {"absent object": real.absent, "wrong count": real.miscounted}
    for i, (context, question, answer) in enumerate(told):
        versions = {None: answer} | {kind: swap(answer, context, Random(i)) for kind, swap in swaps.items()}
        for kind, text in versions.items():
            if text is not None:
                draft = Draft("conversation", (("user", question), ("assistant", text)))
                result.told.append((Told(draft, context, kind, (0, 1)), examine(draft, context, config)))
    return result


def halves(told: Iterable[Said]) -> dict[str, list[Said]]:
    """By pictures, in the order in which they come."""
    found = list(told)
    ids = list(dict.fromkeys(context.sample_id for context, _, _ in found))
    learnt = set(ids[: len(ids) // 2])
    return {
        "first": [t for t in found if t[0].sample_id in learnt],
        "second": [t for t in found if t[0].sample_id not in learnt],
    }


def run(args: list[str]) -> None:
    """Command of `python -m bench lies`."""
    parser = argparse.ArgumentParser(prog="bench lies")
    parser.add_argument("--photos", type=Path, default=None, help="folder with photos.parquet")
    parser.add_argument("--gpt4", type=Path, default=None, help="folder with boxes.jsonl and answers.jsonl")
    parser.add_argument("--phrasings", choices=PHRASINGS, action="append", help="default: all, the held-out ones first")
    parser.add_argument("--real", choices=("first", "second"), action="append", help="default: both halves")
    parser.add_argument("--faults", action="store_true", help="print what was missed or wrongly found; write nothing")
    parser.add_argument("--name", default="lies", help="results/NAME.md and .json")
    options = parser.parse_args(args)
    sets = {"sample web": [scene_context(seed) for seed in range(SCENES)]}
    others: dict[str, Iterable[Said]] = {}
    if options.photos:
        photos = sets["photographs"] = photo_contexts(options.photos)
        others["human captions"] = human(photos)
        if options.gpt4:
            others["GPT-4's answers"] = gpt4(options.gpt4, photos[0].vocabulary)
    lines: list[dict[str, Any]] = []
    facts: dict[str, Any] = {}
    for which, (where, contexts) in product(options.phrasings or PHRASINGS, sets.items()):
        result = score(contexts, Liar(which))
        lines += [{"phrasings": f"{which} ({HOW[which]})", **row} for row in result.rows(where)]
        facts[f"{which}, {where}: true conversations rejected, of {PLANTED}"] = result.clean_rejected()
        _show(result, options.faults)
    for what, told in others.items():
        for half, said in halves(told).items():
            if options.real and half not in options.real:
                continue
            result = score_real(said)
            lines += [{"phrasings": f"{what} ({half} half)", **row} for row in result.rows("photographs")]
            facts[f"{what} ({half} half): true answers rejected, of {len(said)}"] = result.clean_rejected()
            _show(result, options.faults)
    if options.faults:
        print("\n".join(table(lines)), facts)
    else:
        report(options.name, lines, facts)


def _show(result: Score, faults: bool) -> None:
    for what, told, findings in result.faults() if faults else ():
        print(what, told.kind, told.context.sample_id, told.turns, told.draft.turns, findings, sep=" | ")
