"""`pairmill demo --train`: a small model learns from the demo's shards, and is asked about pictures that it never saw.

Tower and language model are the sample web's own, and know nothing of one another: the tower has seen no word of a
question, the language model no picture (their cards: `sample_web/vision`, `sample_web/language`).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.recipe_file import parse
from schemas.evaluate import Answer, TableRow
from schemas.train_loop import TrainConfig
from stages.store import Store

CONFIG = Path(__file__).parent / "recipes" / "train" / "demo.yaml"
ROWS = 3_000
"""Of the sample web, for about 2,000 pictures to learn from."""
BOXED = 1.0
"""All of them with boxes, from which the template teacher asks and answers."""
ASKING = {"max_new_tokens": 40, "batch_size": 64}
"""How it is asked (`GenerateConfig`): the templates' answers are shorter, and for a model of this size a step of one
question costs as much as a step of many."""
_SHOWN = 3
"""Held-out pictures whose questions are printed with their answers."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What came of it."""

    run: Path
    seconds: float
    """Of training; about none where the run was done before."""
    rows: list[TableRow]
    """All, each kind, each form of an answer."""
    said: list[Answer]
    """To the questions about a few pictures."""


def run_folder(out: str) -> Path:
    """Where the demo trains: beside the build."""
    return Path(f"{out.rstrip('/')}-run")


def demo_config(out: str) -> TrainConfig:
    """The demo's configuration, with the folders of this installation and of the build `out`."""
    from pipelines.train.loop.config_file import checked

    raw = parse(CONFIG.read_text(encoding="utf-8"), str(CONFIG))
    for part in ("tower", "language"):
        raw["model"][part]["model"] = str((CONFIG.parent / raw["model"][part]["model"]).resolve())
    for stage in raw["stages"]:
        for source in stage["data"]["sources"]:
            source["path"] = out
        stage["features"]["folder"] = str(run_folder(out) / "features")
    return checked(raw, str(CONFIG))


def train_demo(out: str, say: Callable[[str], None], config: TrainConfig | None = None) -> Learnt:
    """Train on the build `out` (or go on where it was left), then ask about what the build held out."""
    from pipelines.train.evaluate.generate import answers
    from pipelines.train.evaluate.held_out import HeldOut, held_out_rows, questions
    from pipelines.train.evaluate.trained import trained
    from pipelines.train.loop.trainer import train

    run, began = run_folder(out), time.monotonic()
    train(config or demo_config(out), run, say=say)
    seconds = time.monotonic() - began
    say("asking about pictures that were held out, and about others in their places")
    found, store = trained(str(run)), Store(out)
    asking = found.asking(**ASKING)
    rows = held_out_rows(found.built, store, config=asking)
    return Learnt(run, seconds, rows, list(answers(found.built, questions(store, HeldOut(most=_SHOWN)), asking)))


def shown(said: list[Answer]) -> list[str]:
    """Lines for a person: each picture's questions, what was said, and what is right where that differs."""
    from pipelines.train.evaluate.held_out import sample_of

    lines: list[str] = []
    last = None
    for answer in said:
        asked = answer.question
        sample = sample_of(asked)
        if sample != last:
            lines.append(f"picture {sample}")
            last = sample
        right = "" if answer.text == asked.answers[0] else f"  (written: {asked.answers[0]})"
        lines.append(f"  {' '.join(asked.text.split())}  {answer.text}{right}")
    return lines


def as_json(learnt: Learnt) -> dict[str, Any]:
    """For a machine."""
    return {
        "run": str(learnt.run),
        "seconds": round(learnt.seconds, 1),
        "rows": [row.model_dump() for row in learnt.rows],
    }


def next_commands(out: str) -> list[tuple[str, str]]:
    """What to try on a trained demo: command and what it shows."""
    run = run_folder(out)
    return [
        (f"pairmill chat {run} PICTURE.jpg", "talk to it"),
        (f"pairmill explain --step 100 {run}", "what it learnt from in a step, and where that came from"),
    ]
