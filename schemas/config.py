"""Settings: frozen, no unknown keys, documented under each field, and knowing which of them decide bytes."""

from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class _Runtime:
    """Marks a setting that decides how fast, never which bytes: it stays out of the fingerprint."""


RUNTIME = _Runtime()
"""Use as `workers: Annotated[int, RUNTIME] = 4`."""


class StageConfig(BaseModel):
    """Base of every config in a recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def decisive(self) -> dict[str, Any]:
        """The settings that decide bytes, as plain JSON values: what the fingerprint hashes."""
        return {
            name: plain(getattr(self, name)) for name, info in type(self).model_fields.items() if not is_runtime(info)
        }


def is_runtime(info: FieldInfo) -> bool:
    """Whether a config field carries the RUNTIME mark."""
    return any(isinstance(m, _Runtime) for m in info.metadata)


def plain(value: Any) -> Any:
    """A setting as JSON and YAML have it."""
    if isinstance(value, StageConfig):
        return value.decisive()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, (list, tuple, frozenset)):
        found = [plain(v) for v in cast("list[Any]", value)]
        return sorted(found) if isinstance(value, frozenset) else found
    return _scalar(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return value.value if isinstance(value, Enum) else value
