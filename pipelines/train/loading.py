"""What goes wrong while weights are loaded, said as WrongRequest."""

from collections.abc import Iterator
from contextlib import contextmanager
from textwrap import shorten
from typing import Any

from schemas.errors import WrongRequest


@contextmanager
def hub_errors(setting: str, name: str) -> Iterator[None]:
    """A name that is no model, a file that is torn, a hub that cannot be reached."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise WrongRequest(
            f"{setting} {name!r} cannot be loaded: {shorten(why, 200, placeholder=' …')}",
            "check the name and the network, or name a folder",
        ) from error


def refuse_random(setting: str, name: str, found: dict[str, Any]) -> None:
    """Raises WrongRequest where transformers gave parameters random values because the checkpoint lacks them.

    `found` is what `from_pretrained(…, output_loading_info=True)` gives beside the model.
    """
    random = sorted(found["missing_keys"]) + sorted(str(key) for key in found["mismatched_keys"])
    if random:
        raise WrongRequest(
            f"{setting} {name!r} lacks {len(random)} of the model's tensors, {random[0]} among them",
            "take a complete checkpoint: they would have random values",
        )
