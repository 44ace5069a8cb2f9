"""Which backend a recipe asks for."""

from collections.abc import Callable

from schemas.masks_config import MasksConfig
from stages.masks.backend import Backend


def make_backend(config: MasksConfig) -> Backend:
    """The backend that a recipe asks for, not open."""
    return BACKENDS[config.backend](config)


def _grabcut(config: MasksConfig) -> Backend:
    from stages.masks.grabcut import Grabcut

    return Grabcut(config.grabcut)


def _sam(config: MasksConfig) -> Backend:
    from stages.masks.sam_backend import SamBackend

    return SamBackend(config)


BACKENDS: dict[str, Callable[[MasksConfig], Backend]] = {"grabcut": _grabcut, "sam": _sam}
