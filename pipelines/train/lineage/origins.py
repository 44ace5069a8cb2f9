"""The sources of a training stage as they lie there today: are they still what the run's card names?"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from pipelines.recipe_file import parse, validated
from pipelines.train.loop.card import datasets
from schemas.errors import PairmillError
from schemas.recipe import SelectConfig
from schemas.stream import SourceConfig
from stages.families import FAMILIES, sample_schema
from stages.masks.rules import built_in
from stages.select.check import KeepRule, RankRule, check
from stages.shard.run import INDEX
from stages.store import Store
from stages.stream.source import BUILD_MANIFEST, open_source


class State(StrEnum):
    """What a source is today."""

    same = "same"
    """The build that was trained on."""
    unnamed = "unnamed"
    """A build, and the run's card does not name the one that was trained on."""
    changed = "changed"
    """Its manifest, or what is streamed of it, is another than the card's."""
    gone = "gone"
    """There is nothing there, or nothing finished."""
    folder = "folder"
    """A folder of WebDataset shards: no build, so nobody measured its samples."""


KNOWN = frozenset({State.same, State.unnamed})
"""What a sample's lineage is read from."""


@dataclass
class Origin:
    """One source."""

    config: SourceConfig
    state: State
    why: str
    """In words; empty where it is the same."""
    manifest: str | None
    """Fingerprint in the run's card."""
    found: str | None = None
    """Fingerprint of the manifest that is there."""

    @cached_property
    def store(self) -> Store:
        return Store(self.config.path)

    def rules(self) -> list[KeepRule | RankRule]:
        """Those that every sample of the build passed, in order: select's, then those of the masks. Raises WrongRequest
        for a recipe that this version cannot read."""
        name = f"{self.store.url}/recipe.yaml"
        recipe = validated(parse(self.store.read_bytes("recipe.yaml").decode(), name), name)
        columns = {f.name: f.type for f in sample_schema([f for f in FAMILIES if f not in ("masked", "conversations")])}
        found = list(check(recipe.select, columns).rules)
        if recipe.masks is not None:
            found += check(SelectConfig(rules=built_in(recipe.masks.keep)), columns, "masks.keep").rules
        return found


def origin_of(config: SourceConfig, card: dict[str, Any] | None) -> Origin:
    """`card`: what the run's card says of the source; None: nothing."""
    named = None if card is None else str(card["manifest"])
    if "://" not in config.path and not Path(config.path).exists():
        return Origin(config, State.gone, f"there is no {config.path} (from the current folder)", named)
    try:
        source = open_source(config)
        (now,) = datasets([source])
    except (PairmillError, OSError) as error:
        return Origin(config, State.gone, " ".join(str(error).split()), named)
    made = Origin(config, State.same, "", named, str(now["manifest"]))
    if card is not None and now["manifest"] != card["manifest"]:
        made.state, made.why = State.changed, f"its manifest is {now['manifest']} now"
    elif card is not None and now["streamed"] != card["streamed"]:
        made.state, made.why = State.changed, "its manifest is the same, and its shards are others"
    elif not (source.tars.exists(BUILD_MANIFEST) and source.tars.exists(INDEX)):
        made.state, made.why = State.folder, "a folder of WebDataset shards, not a build"
    elif card is None:
        made.state, made.why = (
            State.unnamed,
            "the run has no card.json: whether it is the build trained on is not known",
        )
    return made
