"""Stages about what select kept: masks, their rules, conversations."""

from typing import ClassVar

from stages.base import Stage


class LateStage(Stage):
    """A stage that runs after select, over the rows that are still kept."""

    light: ClassVar[bool] = True
    """Needs no model: a few parts are not worth the start of a cluster."""

    @property
    def sees_pictures(self) -> bool:
        """Whether a batch must have the column `image` (stored bytes)."""
        return "image" in self.accepts.columns()

    def reads(self) -> dict[str, list[str]]:
        """Family → columns that a batch must have beside those of `accepts`, which are the pool's and the parts'."""
        return {}
