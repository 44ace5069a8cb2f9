"""What builds keep from training: loss and answers of one model, and whether it was really kept from it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.train.evaluate.held_out import TEMPLATE, HeldOut, drawn, held_out_rows, questions
from pipelines.train.evaluate.loss import HeldOutLoss, held_out_loss, trained_on
from pipelines.train.evaluate.trained import Trained
from schemas.errors import WrongRequest
from schemas.evaluate import TableRow
from schemas.stream import SourceConfig
from stages.sql import quoted
from stages.store import Store
from stages.stream.source import BUILD_MANIFEST, open_source
from stages.views import open_readonly, query


class Look(Protocol):
    """Sees pass what is done, one by one."""

    def __call__(self, passing: Any) -> Any: ...


@dataclass(frozen=True)
class Asked:
    """What a model is asked."""

    builds: tuple[str, ...] = ()
    """Empty: those of the run's stage."""
    split: str = "val"
    most: int | None = None
    """At most so many samples of each build, the first in order of a hash of their ids."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of GenerateConfig."""


@dataclass(frozen=True)
class KeptOut:
    """What was found."""

    loss: HeldOutLoss
    answers: dict[str, list[TableRow]]
    """By build; without those that have no question whose answer can be compared."""
    trained_on: int | None
    """Samples with a loss that the run has learnt from; None: no run, so nobody knows."""
    notes: list[str]
    """What a reader has to know of the figures."""


def unwatched(passing: Any) -> Any:
    """Nobody looks."""
    return passing


def kept_out(model: Trained, asked: Asked, look: Look = unwatched) -> KeptOut:
    """Loss over all conversations that are trained on, by kind and by build; answers to the questions that templates
    wrote. Raises WrongRequest for what is no build, or has no such split."""
    sources = [_some(source, asked) for source in _sources(model, asked)]
    config = model.asking(**asked.settings)
    batches = model.batches.model_copy(update={"template": config.template})
    loss = held_out_loss(model.built, sources, batches, config.batch_size, look)
    answers: dict[str, list[TableRow]] = {}
    notes: list[str] = []
    for source in sources:
        store, which = Store(source.path), HeldOut(asked.split, _kinds(model), most=asked.most)
        if next(questions(store, which), None) is None:
            notes.append(f"{source.label}: no {TEMPLATE} wrote a conversation of split {asked.split}: nothing is asked")
        else:
            answers[source.label] = held_out_rows(model.built, store, which, config, look)
    if loss.rejected:
        notes.append("without a loss: " + ", ".join(f"{why} {count:,}" for why, count in loss.rejected.items()))
    seen = None
    if model.run is not None and model.stage is not None:
        seen = trained_on(model.run, model.stage.name, loss.sample_ids)
        kept = "held out" if not seen else "NOT held out"
        notes.append(f"the run learnt from {seen:,} of these {len(loss.sample_ids):,} samples: {kept}")
    return KeptOut(loss, answers, seen, notes)


def as_json(found: KeptOut, model: Trained, asked: Asked) -> dict[str, Any]:
    """For a machine."""
    return {
        "stage": None if model.stage is None else model.stage.name,
        "split": asked.split,
        "samples": len(found.loss.sample_ids),
        "trained_on": found.trained_on,
        "loss": [row.model_dump() for row in found.loss.rows],
        "rejected": found.loss.rejected,
        "answers": {name: [row.model_dump() for row in rows] for name, rows in found.answers.items()},
    }


def _sources(model: Trained, asked: Asked) -> list[SourceConfig]:
    if asked.builds:
        labels = [SourceConfig(path=path).label for path in asked.builds]
        plain = len(set(labels)) == len(labels)
        return [SourceConfig(path=path, name=None if plain else path) for path in asked.builds]
    if model.stage is None:
        raise WrongRequest("a saved model names no builds", "name one: pairmill evaluate MODEL BUILD")
    return model.stage.data.sources


def _some(source: SourceConfig, asked: Asked) -> SourceConfig:
    """The source's split, and of it as many samples as are asked for."""
    store = Store(source.path)
    chosen = source.model_copy(update={"split": asked.split, "weight": None, "cap": None})
    if not store.exists("recipe.yaml") or not store.exists(BUILD_MANIFEST):
        raise WrongRequest(f"{source.path} is no finished build", "only builds say what they keep from training")
    open_source(chosen)  # it has the split
    if asked.most is None:
        return chosen
    where = f"split = {quoted(asked.split)}" + (f" AND ({source.where})" if source.where else "")
    con = open_readonly(store)
    try:
        ids = [str(one) for one in query(con, f"SELECT sample_id FROM shards WHERE {where}")["sample_id"].to_pylist()]
    finally:
        con.close()
    some = ", ".join(quoted(one) for one in sorted(ids, key=drawn)[: asked.most])
    return chosen.model_copy(update={"where": f"sample_id IN ({some or 'NULL'})"})


def _kinds(model: Trained) -> tuple[str, ...] | None:
    return None if model.batches.kinds is None else tuple(model.batches.kinds)
