"""Synthesize: conversations about each sample that select kept, written by a teacher, checked, and accounted for.

A sample is kept with the conversations that passed the checks; what did not pass stands beside them with its reason and
what it cost. A sample without any is rejected, for the reason of the first that was dropped, unless the recipe says
`require: false`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.conversation import NOTHING_TO_SAY, NoConversation, Synthesized
from schemas.errors import WrongRequest
from schemas.recipe import ResizeConfig
from schemas.sample import Box, Described, TextLine
from schemas.synthesize import SynthesizeConfig
from stages.base import Outcome
from stages.late import LateStage
from stages.measure.clip import ClipMeasure
from stages.synthesize import template
from stages.synthesize.context import Context
from stages.synthesize.fits import Fits
from stages.synthesize.groups import groups_of
from stages.synthesize.negatives import Statistics
from stages.synthesize.regions import boxes_of_masks
from stages.synthesize.teacher import Asked, Teacher, TemplateTeacher, Written

LANGUAGES = ("en", "zh")


@dataclass(frozen=True, slots=True)
class Known:
    """What the stage knows besides a sample."""

    statistics: Statistics | None = None
    """Of the pool's labels; None: none were counted."""
    replies: str = ""
    """Folder of the reply cache, on this machine."""
    resize: ResizeConfig | None = None
    """What the download did to the pictures, on which the places of masks depend."""


class Synthesize(LateStage):
    """Family `conversations`."""

    name = "synthesize"
    accepts = Described
    emits = Synthesized
    reasons = NoConversation

    def __init__(self, config: SynthesizeConfig, known: Known | None = None, clip: ClipMeasure | None = None) -> None:
        """`clip`: the recipe's measure, where `config.fits` asks for it. Raises WrongRequest where it is missing."""
        super().__init__(config)
        self._settings, self._known = config, known or Known()
        if config.fits is not None and clip is None:
            raise WrongRequest("synthesize.fits needs measure.clip", "add measure.clip to the recipe, or drop fits")
        self.fits = None if config.fits is None or clip is None else Fits(clip, config.fits)
        """A batch must then have the column `clip_image`."""
        self._teacher: Teacher | None = None

    @property
    def sees_pictures(self) -> bool:
        return self._settings.teacher == "model" and self._settings.sees != "text"

    def reads(self) -> dict[str, list[str]]:
        masks = {} if self._settings.boxes == "pool" else {"masks": ["masks"], "parts": ["height", "width"]}
        return masks if self.fits is None else masks | {"measures/clip": ["clip_image"]}

    def knowing(self, config: SynthesizeConfig, known: Known) -> "Synthesize":
        """The same stage with what it must know to write."""
        return Synthesize(config, known, self.fits.clip if self.fits else None)

    def identity(self) -> dict[str, Any]:
        """With the versions of the prompts that are asked for."""
        mine = {**super().identity(), "prompts": prompt_versions(self._settings)}
        if self._settings.boxes == "masks":
            mine["resize"] = self._known.resize.decisive() if self._known.resize else None
        return mine if self.fits is None else mine | {"clip": self.fits.clip.identity()}

    def open(self) -> None:
        if self._teacher is None:
            teacher = TEACHERS[self._settings.teacher](self._settings, self._known)
            teacher.open()
            self._teacher = teacher
            if self.fits is not None:
                self.fits.clip.open()

    def close(self) -> None:
        if self._teacher is not None:
            self._teacher.close()
            self._teacher = None
            if self.fits is not None:
                self.fits.clip.close()

    def process(self, batch: pa.Table) -> Outcome:
        if self._teacher is None:
            raise AssertionError("process before open")
        written = self._teacher.write(self.asked(batch))
        if self.fits is not None:
            self.fits.judge(batch["clip_image"].to_pylist(), written)
        return self._outcome(batch, written)

    def asked(self, batch: pa.Table) -> list[Asked]:
        """What the teacher is asked, for each row of a batch (`Described`, and `image` where it sees pictures).

        Without that column it is what they are asked, and nothing is shown: enough for an estimate.
        """
        masked = self._settings.boxes == "masks" and "masks" in batch.column_names  # before the build it is not
        columns = [*Described.columns(), *(("masks", "width", "height") if masked else ())]
        contexts = [self._context(row) for row in batch.select(columns).to_pylist()]
        there = self.sees_pictures and "image" in batch.column_names
        images: list[bytes | None] = batch["image"].to_pylist() if there else []
        groups = groups_of(contexts, self._settings.group) if "interleaved" in self._settings.kinds else {}
        out: list[Asked] = []
        for i, context in enumerate(contexts):
            members = groups.get(i, ())
            shown = tuple(images[j] for j in members or (i,)) if images else ()
            out.append(Asked(context, tuple(contexts[j] for j in members), shown))
        return out

    def _context(self, row: dict[str, Any]) -> Context:
        captions = [row["caption"], *(row["captions"] or ())]
        boxes, texts = row["boxes"], row["texts"]
        known = None if boxes is None else tuple(Box(**box) for box in boxes)
        if "masks" in row:
            known = tuple(boxes_of_masks(row, self._known.resize))
        return Context(
            sample_id=row["sample_id"],
            width=row["original_width"] or 0,
            height=row["original_height"] or 0,
            captions=tuple(dict.fromkeys(c for c in captions if c and c.strip())),
            boxes=known,
            vocabulary=self._vocabulary(),
            texts=None if texts is None else tuple(TextLine(**line) for line in texts),
            language=self._language(row["language"]),
        )

    def _vocabulary(self) -> frozenset[str]:
        named = self._settings.vocabulary
        if named != "labels":
            return frozenset(named)
        return frozenset(self._known.statistics.labels) if self._known.statistics else frozenset()

    def _language(self, tag: str | None) -> str:
        if self._settings.language != "caption":
            return self._settings.language
        primary = (tag or "").partition("-")[0].lower()
        return primary if primary in LANGUAGES else LANGUAGES[0]

    def _outcome(self, batch: pa.Table, written: Sequence[Written]) -> Outcome:
        schema = Synthesized.arrow_schema()
        found = [[[c.model_dump() for c in w.conversations], [d.model_dump() for d in w.dropped]] for w in written]
        columns = [pa.array([f[i] for f in found], schema.field(i + 1).type) for i in range(2)]
        table = pa.table([batch["sample_id"], *columns], names=schema.names)
        gone = [self._settings.require and not w.conversations for w in written]
        first = [w.dropped[0] if lost and w.dropped else None for lost, w in zip(gone, written, strict=True)]
        reason = [(f.reason if f else NOTHING_TO_SAY) if lost else None for lost, f in zip(gone, first, strict=True)]
        detail = [f"{f.kind}: {f.evidence}" if f else None for f in first]
        return Outcome(table, pa.array(reason, pa.string()), detail=pa.array(detail, pa.string()))


def prompt_versions(config: SynthesizeConfig) -> dict[str, int]:
    """Kind → version of its prompt, of the kinds that a recipe asks for."""
    if config.teacher == "template":
        return {kind.value: template.VERSION for kind in config.template.kinds}
    from stages.synthesize.kinds.registry import kinds_of

    return {name: kind.version for name, kind in kinds_of(config).items()}


def _template(config: SynthesizeConfig, known: Known) -> Teacher:
    return TemplateTeacher(config.template, config.checks, known.statistics)


def _model(config: SynthesizeConfig, known: Known) -> Teacher:
    from pathlib import Path

    from stages.synthesize.model import ModelTeacher

    return ModelTeacher(config, Path(known.replies))


TEACHERS: dict[str, Callable[[SynthesizeConfig, Known], Teacher]] = {"template": _template, "model": _model}
