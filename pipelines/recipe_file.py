"""Reading a recipe: YAML in, a checked `Recipe` out, with errors a person can act on.

A relative path inside a recipe is relative to the recipe's folder. The copy that a build keeps of itself
(`BUILD/recipe.yaml`) holds only what decides bytes; where things lay and how fast they ran is beside it, in
`BUILD/logs/runtime.yaml`, and is read back when that copy is built again.
"""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from schemas.config import StageConfig, is_runtime, plain
from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig, Recipe
from stages.store import Store

RUNTIME_FILE = "logs/runtime.yaml"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A recipe and the folder its relative paths are relative to."""

    recipe: Recipe
    base: str


def load(path: str, overrides: list[str] | None = None) -> Loaded:
    """Read a recipe file and apply `--set a.b=value` overrides (values are YAML).

    Raises WrongRequest for a missing file, bad YAML, an unknown key, a wrong type, an override that names nothing.
    """
    file = Path(path)
    if not file.is_file():
        raise WrongRequest(f"recipe {path!r} does not exist", "give the path of a YAML file")
    data = parse(file.read_text(encoding="utf-8", errors="replace"), path)
    base = str(file.resolve().parent)
    remembered = file.resolve().parent / RUNTIME_FILE
    if remembered.is_file():
        runtime = parse(remembered.read_text(encoding="utf-8"), str(remembered))
        base = str(runtime["base"])
        data = _merged(data, runtime["recipe"])
    for override in overrides or []:
        _override(data, override)
    return Loaded(validated(data, path), base)


def parse(text: str, where: str) -> dict[str, Any]:
    """YAML text as a mapping. Raises WrongRequest."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise WrongRequest(
            f"recipe {where!r} is not YAML{line}: {getattr(error, 'problem', error)}", "fix it"
        ) from error
    if not isinstance(data, dict):
        raise WrongRequest(f"recipe {where!r} is not a mapping", "it needs at least `name` and `pool`")
    return data


def validated(data: dict[str, Any], where: str) -> Recipe:
    """Raises WrongRequest naming the first wrong key with the closest right one."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongRequest(*_complaint(where, first, error.error_count())) from error


def _complaint(where: str, first: Any, count: int) -> tuple[str, str]:
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    more = f" (and {count - 1} more)" if count > 1 else ""
    if first["type"] == "extra_forbidden":
        known = known_keys(first["loc"][:-1])
        close = difflib.get_close_matches(str(first["loc"][-1]), known, 1)
        remedy = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(known)}"
        return f"recipe {where!r}: unknown key {key!r}{more}", remedy
    if first["type"] == "missing":
        return f"recipe {where!r}: {key!r} is missing{more}", "add it"
    message = first["msg"].removeprefix("Value error, ")
    return f"recipe {where!r}: {key!r}: {message}{more}", f"it is {first['input']!r} now"


def known_keys(path: tuple[Any, ...]) -> list[str]:
    """Keys that a recipe may have at a path, e.g. ('download', 'resize')."""
    model: type[BaseModel] = Recipe
    for step in path:
        if isinstance(step, int):
            continue
        inner = model.model_fields.get(step)
        found = _model_in(inner.annotation) if inner else None
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in getattr(annotation, "__args__", ()) if (m := _model_in(a))), None)


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise WrongRequest(f"--set {override!r} is not key=value", "write for example --set shards.seed=1")
    try:
        value = yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise WrongRequest(f"--set {key}: {raw!r} is not YAML", "quote it as YAML") from error
    *path, last = key.split(".")
    node: Any = data
    for step in path:
        node = _step(node, step, key)
    _assign(node, last, value, key)


def _step(node: Any, step: str, key: str) -> Any:
    if isinstance(node, list):
        return node[_index(node, step, key)]
    if node.get(step) is None:
        node[step] = {}
    return node[step]


def _assign(node: Any, last: str, value: Any, key: str) -> None:
    if isinstance(node, list):
        node[_index(node, last, key)] = value
    elif isinstance(node, dict):
        node[last] = value
    else:
        raise WrongRequest(f"--set {key}: there is nothing to set below it", "name a key of the recipe")


def _index(node: list[Any], step: str, key: str) -> int:
    """A list entry by number, or by its `reason` where entries have one."""
    if step.isdigit() and int(step) < len(node):
        return int(step)
    for i, entry in enumerate(node):
        if isinstance(entry, dict) and entry.get("reason") == step:
            return i
    raise WrongRequest(f"--set {key}: no entry {step!r} in that list", f"it has {len(node)} entries, counted from 0")


def _merged(data: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    out = dict(data)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = _merged(out[key], value) if both else value
    return out


def runtime_part(config: StageConfig) -> dict[str, Any]:
    """Only the settings that decide no byte, nested as in the recipe."""
    out: dict[str, Any] = {}
    for name, info in type(config).model_fields.items():
        value = getattr(config, name)
        if is_runtime(info):
            out[name] = value.model_dump(mode="json") if isinstance(value, BaseModel) else plain(value)
        elif isinstance(value, StageConfig) and (inner := runtime_part(value)):
            out[name] = inner
    return out


def keep_copies(store: Store, loaded: Loaded, sources: list[str]) -> None:
    """Write BUILD/recipe.yaml (decisive settings; pool paths as names) and logs/runtime.yaml."""
    decisive = loaded.recipe.decisive()
    decisive["pool"] = {"paths": sources, **decisive["pool"]}
    _write_if_new(store, "recipe.yaml", yaml.safe_dump(decisive, sort_keys=False, allow_unicode=True))
    remembered = {"base": loaded.base, "recipe": runtime_part(loaded.recipe)}
    _write_if_new(store, RUNTIME_FILE, yaml.safe_dump(remembered, sort_keys=False, allow_unicode=True))


def _write_if_new(store: Store, name: str, text: str) -> None:
    data = text.encode()
    if not (store.exists(name) and store.read_bytes(name) == data):
        store.write_bytes(name, data)


def resolved_paths(config: ClipConfig, base: str) -> dict[str, Any]:
    """What of a CLIP config is a path, made absolute: a local model folder, a checkpoint that is there."""
    checkpoint = Path(base) / config.pretrained if config.pretrained else None
    found = str(checkpoint.resolve()) if checkpoint and checkpoint.is_file() else config.pretrained
    return {"model": resolved_model(config.model, base), "pretrained": found}


def resolved_model(model: str, base: str) -> str:
    """`local-dir:PATH` with PATH made absolute; other model names unchanged."""
    kind, colon, path = model.partition(":")
    if kind != "local-dir" or not colon:
        return model
    return f"local-dir:{(Path(base) / path).resolve()}"
