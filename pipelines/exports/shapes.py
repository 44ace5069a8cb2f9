"""What a record looks like in each format.

llava     LLaVA, docs/Finetune_Custom_Data.md; several pictures: LLaVA-NeXT, whose reader takes a list as `image`.
sharegpt  LLaMA-Factory, data/README.md: formatting sharegpt; pairs: `ranking`, with chosen and rejected messages.
messages  OpenAI's chat messages with content parts: TRL (dataset formats, vision) and Axolotl (multimodal, dataset
          format); pairs: TRL's prompt, chosen, rejected.
"""

import re
from typing import Any

from pipelines.exports.talks import MARKER, Talk

INFO = "dataset_info.json"
_FROM = {"user": "human", "assistant": "gpt"}


def llava(talk: Talk, paths: list[str]) -> dict[str, Any]:
    """`image` is one path, or a list where there are several."""
    image = paths[0] if len(paths) == 1 else paths
    return {"id": talk.id, "image": image, "conversations": _values(talk.turns), "provenance": talk.provenance}


def sharegpt(talk: Talk, paths: list[str]) -> dict[str, Any]:
    """Pairs end with the question; the answers are beside it."""
    record: dict[str, Any] = {"id": talk.id}
    if talk.rejected is None:
        record["conversations"] = _values(talk.turns)
    else:
        record["conversations"] = _values(talk.turns[:-1])
        record["chosen"], record["rejected"] = _values([talk.turns[-1], ("assistant", talk.rejected)])
    return {**record, "images": paths, "provenance": talk.provenance}


def messages(talk: Talk, pictures: list[dict[str, Any]], listed: list[str] | None) -> dict[str, Any]:
    """`pictures`: the part that stands for each picture; `listed`: paths for the column `images`, if it is wanted."""
    left = iter(pictures)
    turns = [{"role": role, "content": _parts(text, left)} for role, text in talk.turns]
    record: dict[str, Any] = {"id": talk.id}
    if talk.rejected is None:
        record["messages"] = turns
    else:
        worse = {"role": "assistant", "content": _parts(talk.rejected, left)}
        record |= {"prompt": turns[:-1], "chosen": turns[-1:], "rejected": [worse]}
    if listed is not None:
        record["images"] = listed
    return {**record, "provenance": talk.provenance}


def dataset_info(recipe: str, files: dict[str, int]) -> dict[str, Any]:
    """LLaMA-Factory's description of each file; a data set is called RECIPE_FILE. Commas would end a name there."""
    stem = re.sub(r"[^0-9A-Za-z_-]+", "_", recipe)
    return {f"{stem}_{name.removesuffix('.jsonl')}": _described(name) for name in sorted(files)}


def _described(name: str) -> dict[str, Any]:
    columns = {"messages": "conversations", "images": "images"}
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    described: dict[str, Any] = {"file_name": name, "formatting": "sharegpt"}
    if name.endswith("_pairs.jsonl"):
        described["ranking"] = True
        columns |= {"chosen": "chosen", "rejected": "rejected"}
    return {**described, "columns": columns, "tags": tags}


def _values(turns: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"from": _FROM[role], "value": text} for role, text in turns]


def _parts(text: str, pictures: Any) -> list[dict[str, Any]]:
    """A text with a picture's part in the place of each marker; line breaks around a marker go with it."""
    parts: list[dict[str, Any]] = []
    for i, piece in enumerate(text.split(MARKER)):
        if i:
            parts.append(next(pictures))
        if words := piece.strip("\n") if MARKER in text else piece:
            parts.append({"type": "text", "text": words})
    return parts
