"""Pieces of which kinds make their reply schemas, and the JSON schema that is sent.

OpenAI's strict structured output wants every property required, `additionalProperties: false` and few keywords
(platform.openai.com/docs/guides/structured-outputs, "Supported schemas"); llama.cpp's and vLLM's grammars want no more.
"""

import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

TEXT_MOST = 8_000
"""Characters of one question or answer."""
EVIDENCE_MOST = 8
"""Names that an answer is asked to list at most."""
MARK = "<image>"
"""Stands for a picture in a turn (LLaVA); only we may write it."""
_KEPT = ("minItems", "maxItems", "minimum", "maximum", "enum")


class Unfit(ValueError):
    """A reply that fits its JSON schema and is none of its kind's all the same. The message is evidence."""


def _said(text: str) -> str:
    tidy = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs", "Co", "Cn")).strip()
    if not tidy:
        raise ValueError("it says nothing")
    if len(tidy) > TEXT_MOST:
        raise ValueError(f"it is {len(tidy)} characters long, more than {TEXT_MOST}")
    if MARK in tidy:
        raise ValueError(f"it holds {MARK}")
    return tidy


Said = Annotated[str, AfterValidator(_said)]
"""A question or an answer: without control characters, not empty, at most TEXT_MOST characters."""
Names = Annotated[list[str], WithJsonSchema({"type": "array", "items": {"type": "string"}, "maxItems": EVIDENCE_MOST})]


def long_enough(text: str, words: int) -> str:
    """The text, if it has so many words; two ideographs count as one. Raises Unfit."""
    found = max(len(text.split()), sum("\u3400" <= c <= "\u9fff" for c in text) // 2)
    if found < words:
        raise Unfit(f"{found} words where at least {words} are due: {text[:80]}")
    return text


class Reply(BaseModel):
    """Base of all replies: no unknown keys, no string for a number."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Exchange(Reply):
    """A question and its answer. `evidence` may be missing where a server holds replies to no schema."""

    question: Said
    answer: Said
    evidence: Names = Field(default_factory=list[str])


class Told(Reply):
    """One text, such as a description."""

    text: Said
    evidence: Names = Field(default_factory=list[str])


@cache
def strict_schema(model: type[BaseModel]) -> Mapping[str, Any]:
    """The model's JSON schema, references resolved, in the words that strict structured output knows. Made once.

    Raises TypeError for a model that needs others (unions, maps, recursion)."""
    whole = model.model_json_schema()
    return _strict(whole, whole.get("$defs", {}))


def _strict(node: Mapping[str, Any], defs: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _strict(defs[str(node["$ref"]).rsplit("/", 1)[1]], defs)
    kind = node.get("type")
    kept = {key: node[key] for key in _KEPT if key in node}
    if kind == "object" and "properties" in node:
        inner = {name: _strict(child, defs) for name, child in node["properties"].items()}
        return {"type": "object", "properties": inner, "required": list(inner), "additionalProperties": False}
    if kind == "array" and "items" in node:
        return {"type": "array", "items": _strict(node["items"], defs), **kept}
    if kind in ("string", "integer", "number", "boolean"):
        return {"type": kind, **kept}
    raise TypeError(f"strict structured output has no word for {dict(node)}")
