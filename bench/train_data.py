"""Conversations over drawn scenes in a mix of lengths, as tars that `pairmill index` has indexed.

Half are a few short questions (VQA), a quarter descriptions, a quarter long conversations: the three sorts that
LLaVA-1.5's mix is made of (arXiv:2310.03744, table 7). Words are random; a byte is a token (`train_parts`).
"""

import json
import random
from pathlib import Path

_SORTS = {  # share, turns, bytes of a question, bytes of an answer
    "vqa": (0.5, (1, 5), (20, 60), (2, 30)),
    "description": (0.25, (1, 1), (20, 80), (250, 700)),
    "conversation": (0.25, (2, 6), (20, 120), (40, 300)),
}


def conversing(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` samples of one conversation each."""
    from dataclasses import replace

    from bench.streaming.samples import pictures, samples, write_tars
    from pipelines.index_folder import index_folder

    dice = random.Random(seed)
    made = (replace(one, json=_document(dice)) for one in samples(pictures(None), count))
    write_tars(folder, made, 64)
    index_folder(str(folder))
    return folder


def _document(dice: random.Random) -> bytes:
    kind = dice.choices(list(_SORTS), [share for share, *_ in _SORTS.values()])[0]
    _, turns, asked, answered = _SORTS[kind]
    said = []
    for _ in range(dice.randint(*turns)):
        said += [_turn("user", _words(dice, *asked)), _turn("assistant", _words(dice, *answered))]
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0.0}
    plain = {"prompt_version": 1, "teacher": "none", "language": "en", "repaired": False, "usage": usage}
    empty = {"images": None, "rejected": None, "planted": None}
    return json.dumps({"conversations": [{"kind": kind, "turns": said, **plain, **empty}]}).encode()


def _turn(role: str, text: str) -> dict[str, object]:
    return {"role": role, "text": text, "evidence": []}


def _words(dice: random.Random, least: int, most: int) -> str:
    """Letters with spaces between, so many bytes."""
    letters = "".join(dice.choices("abcdefghijklmnopqrstuvwxyz     ", k=dice.randint(least, most)))
    return " ".join(letters.split()) or "a"
