"""A run: its stages one after the other, resumed where it was left.

    train(load_config("train.yaml", ["builds/demo"]), Path("runs/one"))

Alone, by torchrun, or inside a worker that has set torch.distributed up (Ray Train). The folder:

    RUN/config.yaml  README.md  record.jsonl  record.index  rejections.jsonl
    RUN/checkpoints/step-…/        the newest ones
    RUN/stages/NAME/projector | model   what a stage learnt, once it is done
    RUN/logs/
"""

import shutil
from contextlib import closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.template import Template
from pipelines.train.chat import set_template
from pipelines.train.features.cache import FeatureCache
from pipelines.train.loop.card import datasets, write_card, write_config
from pipelines.train.loop.checkpoint import FULL, Checkpoints
from pipelines.train.loop.files import Files, Say
from pipelines.train.loop.pixels import Unseen, pixels_of
from pipelines.train.loop.ready import Ready, outputs, ready, started
from pipelines.train.loop.resume import FORMAT, alone, compared, settings
from pipelines.train.loop.signals import Stopping
from pipelines.train.loop.snapshot import Snapshot, put_back, random_state, seed_all, set_random_state, taken
from pipelines.train.loop.stage_run import Place, StageRun
from pipelines.train.loop.world import World, joined
from pipelines.train.save import save_model, save_projector
from schemas.errors import Stopped, WrongRequest
from schemas.train_batch import BatchConfig
from schemas.train_loop import TrainConfig, TrainStage
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream


@dataclass(frozen=True)
class Ended:
    """How a run ended."""

    step: int
    """Steps done."""
    stopped: str | None
    """The signal that it was stopped by; null: it is done."""
    loss: float | None
    """Of the last step done here."""


def train(config: TrainConfig, out: Path, allow_changed: bool = False, say: Say = lambda words: None) -> Ended:
    """Train, or go on from the newest checkpoint of `out`. Raises WrongRequest, WrongData and Stopped."""
    import torch

    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with joined(config) as world, Stopping() as stopping, alone(out) if world.first else nullcontext():
        run = Run(config, out, world, say if world.first else lambda words: None)
        try:
            return run.go(stopping, allow_changed)
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise Stopped(
                f"no space left for the files of {out}", "free space, then run the same command again"
            ) from error
        finally:
            run.close()


class Run:
    """One training of a run's folder."""

    def __init__(self, config: TrainConfig, out: Path, world: World, say: Say) -> None:
        self.config, self.out, self.world, self.say = config, out, world, say
        self.checkpoints = Checkpoints(out / "checkpoints", config.checkpoints.keep)
        self.place = Place(0)
        self.told: list[dict[str, Any]] = []
        """Of each stage begun: data, sizes, steps."""
        self.changes: list[str] = []
        self.files: Files | None = None
        self.features: FeatureCache | None = None

    def close(self) -> None:
        """Whatever happened: end the threads, close the files."""
        self._keep_features()
        self.checkpoints.close()
        if self.files is not None:
            self.files.close()

    def go(self, stopping: Stopping, allow_changed: bool) -> Ended:
        """All that is left to do."""
        if self.world.first:
            self.checkpoints.clear()
        self.world.wait()
        whole = self.checkpoints.whole()
        found = self.checkpoints.load(whole[-1]) if whole else None
        if found is not None:
            self._resume(found.state, allow_changed)
        if self.world.first:
            self.files = Files(self.out, self.config, found.state["sizes"] if found else {}, self.say)
            write_config(self.config, self.out)
        for number in range(self.place.stage, len(self.config.stages)):
            if self._stage(number, found, stopping, allow_changed):
                self.say(f"stopped by {stopping.asked or 'another process'}: saved after step {self.place.step}")
                break
            found = None
        else:
            stopping.asked = None
        self._card()
        loss = None if self.files is None else self.files.loss
        return Ended(self.place.step, stopping.asked, loss)

    def _resume(self, state: dict[str, Any], allow_changed: bool) -> None:
        if state.get("format") != FORMAT:
            raise WrongRequest(f"the checkpoint has format {state.get('format')!r}, not {FORMAT}", "start anew")
        place = Place(**state["place"])
        if place.stage >= len(self.config.stages):
            raise WrongRequest(
                f"the run is in stage {place.stage + 1} and the configuration has {len(self.config.stages)}",
                "put the stages back, or start anew in another --out",
            )
        now = settings(self.config, place.stage)
        self.changes = state["changes"] + compared(state["settings"], now, place.step, allow_changed)
        if len(state["random"]) != self.world.size:
            self.changes.append(f"after step {place.step}: {len(state['random'])} → {self.world.size} processes")
        place.steps = self.config.stages[place.stage].steps or place.steps
        self.place, self.told = place, state["told"]
        self.say(f"goes on after step {place.step}")

    # ------------------------------------------------------------------ one stage

    def _stage(self, number: int, found: Snapshot | None, stopping: Stopping, allow_changed: bool) -> bool:
        """Whether the run was told to stop."""
        if found is None:
            self.place = Place(number, self.place.step)
            if self.world.first:
                shutil.rmtree(outputs(self.out, self.config.stages[number]).parent, ignore_errors=True)
        if found is None or self.place.stage_step < self.place.steps:
            stop, found = self._learnt(number, found, stopping, allow_changed)
            if stop:
                return True
        if self.world.first:
            self._save_outputs(number, found)
        self.world.wait()
        return False

    def _learnt(
        self, number: int, found: Snapshot | None, stopping: Stopping, allow_changed: bool
    ) -> tuple[bool, Snapshot]:
        """(whether the run was told to stop, what was saved last)."""
        stage, place = self.config.stages[number], self.place
        made = ready(self.config, self.out, number, self.world)
        self.features = None if made.features is None else made.features.cache
        batches = self._batches(number, made, found, allow_changed)
        self._put_back(made, found, number)
        run, stop, saved = StageRun(stage, made, batches, place, self.files), False, found
        with closing(run.steps(lambda: stopping.asked is not None)) as steps:
            for asked in steps:
                self.checkpoints.look()
                last = place.stage_step == place.steps
                stop = asked and not last
                if stop or last or place.step % self.config.checkpoints.every == 0:
                    saved = self._save(made, batches)
                if stop:
                    break
        self.checkpoints.wait()
        self._keep_features()
        if not stop and self.files is not None:
            self.files.reject(place.step, batches.trailing)
        assert saved is not None  # there is one after the last step
        return stop, saved

    def _batches(self, number: int, made: Ready, found: Snapshot | None, allow_changed: bool) -> Batches:
        stage, place = self.config.stages[number], self.place
        stream, pixels = Stream(stage.data), made.pixels()
        self._check_some(stage, made)
        if not place.steps:
            place.steps = stage.steps or self._counted(stage.batches, stream, made, stage.accumulate)
        topology = Topology(self.world.rank, self.world.size)
        batches = Batches(stream, made.built.tokenizer, pixels, stage.batches, topology)
        if found is not None:
            batches.load_state_dict(found.state["batches"], allow_changed)
            self.changes += [c for c in stream.changes if c not in self.changes]
        about = {"data": datasets(stream.sources), **made.learning, "steps": place.steps}
        self.told = [*self.told[:number], about]
        self._card()
        self.say(
            f"stage {stage.name}: {about['learning']:,} of {about['values']:,} values learn, {place.steps:,} steps"
        )
        return batches

    def _check_some(self, stage: TrainStage, made: Ready) -> None:
        """An endless stream that has nothing to learn would be read for ever: raises WrongData where one pass has
        none, and WrongRequest where nothing says how many steps there are."""
        endless = [source for source in stage.data.sources if source.repeats is None]
        if endless and stage.steps is None:
            raise WrongRequest(
                f"stage {stage.name}: its source {endless[0].label} is endless and the stage has no steps",
                "set steps, or repeats",
            )
        if endless:
            once = [s if s.repeats is not None else s.model_copy(update={"repeats": 1.0}) for s in stage.data.sources]
            first = {"window": 1, "rows": 1, "ahead": 0}
            stream = Stream(stage.data.model_copy(update={"sources": once}))
            next(iter(self._unseen(stage.batches.model_copy(update=first), stream, made)))

    def _counted(self, config: BatchConfig, stream: Stream, made: Ready, accumulate: int) -> int:
        """Steps until the stream ends: all its texts are read, and no picture."""
        loose = config.model_copy(update={"max_bad_share": 1.0, "max_bad": None, "ahead": 0})
        units = sum(1 for _ in self._unseen(loose, stream, made))
        return -(-units // (self.world.size * accumulate))

    def _unseen(self, config: BatchConfig, stream: Stream, made: Ready) -> Batches:
        """Without pictures, as one process has them."""
        return Batches(stream, made.built.tokenizer, Unseen(pixels_of(made.built)), config, Topology())

    def _put_back(self, made: Ready, found: Snapshot | None, number: int) -> None:
        """Weights, moments and random numbers of the checkpoint; or a stage's first ones."""
        if found is not None:
            put_back(found, made.named, made.optimizer)
        kept = [] if found is None else found.state["random"]
        if len(kept) == self.world.size:
            set_random_state(kept[self.world.rank], self.world.device)
        else:
            seed_all(self.config.seed, number, self.place.stage_step, self.world.rank)

    # ------------------------------------------------------------------ files

    def _save(self, made: Ready, batches: Batches) -> Snapshot:
        """A copy now; on the disk a little later."""
        if self.features is not None:
            self.features.flush()
        kept = self.world.gathered(random_state(self.world.device))
        snapshot = taken(made.named, made.optimizer, self.world.first)
        if self.files is not None:
            snapshot.state = {
                "format": FORMAT,
                "place": asdict(self.place),
                "settings": settings(self.config, self.place.stage),
                "batches": batches.state_dict(),
                "random": kept,
                "sizes": self.files.sizes,
                "told": self.told,
                "changes": self.changes,
            }
            self.checkpoints.save(self.place.step, snapshot, self.files.paths)
        return snapshot

    def _save_outputs(self, number: int, found: Snapshot | None) -> None:
        """What the stage learnt, put into a model that is loaded anew: the same whoever trained it, and however."""
        import torch

        stage = self.config.stages[number]
        folder = outputs(self.out, stage)
        if folder.exists():
            return
        assert found is not None  # a stage ends with a checkpoint
        built = started(self.config, self.out, number)
        with torch.no_grad():
            for name, parameter in built.model.named_parameters():
                if name in found.weights:
                    parameter.copy_(found.weights[name])
        if stage.freeze.train == "projector":
            save_projector(built, folder)
        else:  # moved elsewhere, it is still asked as it was trained
            set_template(built.processor, Template(built.tokenizer, stage.batches).text)
            save_model(built, folder)
        self.say(f"stage {stage.name} is done: {folder}")

    def _keep_features(self) -> None:
        """All that was seen, into files."""
        cache, self.features = self.features, None
        if cache is not None:
            cache.close()
            full = f"; {cache.full}: what is not there is seen each time" if cache.full else ""
            self.say(f"features of {len(cache):,} pictures: {cache.folder}{full}")

    def _card(self) -> None:
        if self.world.first:
            write_card(self.config, self.out, self.told, self.changes)
