"""Reading a training configuration: YAML in, a checked `TrainConfig` out, with errors a person can act on."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipelines.recipe_file import parse
from schemas.errors import WrongRequest
from schemas.train_loop import TrainConfig


def load_config(path: str, data: list[str] | None = None) -> TrainConfig:
    """`data`: builds to read instead of those in the file: one BUILD for stages with one source (or none), or
    NAME=BUILD for the sources of that name. Raises WrongRequest."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongRequest(f"{path!r} cannot be read: {error}", "give the path of a YAML file") from error
    raw = parse(text, path)
    for one in data or []:
        _put_data(raw, one)
    return checked(raw, path)


def checked(raw: dict[str, Any], where: str) -> TrainConfig:
    """Raises WrongRequest naming the first wrong key."""
    try:
        return TrainConfig.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"]) or "(top level)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        message = first["msg"].removeprefix("Value error, ")
        raise WrongRequest(f"{where!r}: {key}: {message}{more}", "correct it") from error


def _put_data(raw: dict[str, Any], told: str) -> None:
    name, equals, build = told.rpartition("=")
    stages = raw.get("stages")
    found = 0
    for stage in stages if isinstance(stages, list) else []:
        if not isinstance(stage, dict):
            continue
        stage.setdefault("data", {"sources": [{"path": build}]})
        sources = stage["data"].get("sources") if isinstance(stage["data"], dict) else None
        named = [s for s in sources or [] if isinstance(s, dict) and (not equals or s.get("name") == name)]
        if not equals and len(named) > 1:
            raise WrongRequest(f"--data {told!r}: a stage has {len(named)} sources", "write --data NAME=BUILD")
        for source in named:
            source["path"] = build
            found += 1
    if not found:
        raise WrongRequest(f"--data {told!r}: no stage has such a source", "name one of the configuration's")
