"""A stage's model, ready to learn: loaded, frozen, on its device, compiled, spread over the processes."""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.train.batches.collate import Form
from pipelines.train.batches.images import Pixels
from pipelines.train.features.tower import Features, take_out
from pipelines.train.freeze import freeze, set_training, trainable
from pipelines.train.load import load_model
from pipelines.train.loop.card import learning
from pipelines.train.loop.flops import Work, work_of
from pipelines.train.loop.optim import make_optimizer
from pipelines.train.loop.pixels import pixels_of
from pipelines.train.loop.world import World
from pipelines.train.models import Built, build
from pipelines.train.save import load_projector
from schemas.errors import WrongRequest
from schemas.train import ModelConfig
from schemas.train_loop import TrainConfig, TrainStage

MODEL, PROJECTOR = "model", "projector"


def outputs(run: Path, stage: TrainStage) -> Path:
    """Where what a stage learnt is saved: a projector alone, or a model."""
    return run / "stages" / stage.name / (PROJECTOR if stage.freeze.train == "projector" else MODEL)


@dataclass
class Ready:
    """A model that learns."""

    built: Built
    model: Any
    """What is called: the model, or DDP around it."""
    named: dict[str, Any]
    """Parameters that learn, by the model's own names; float32."""
    optimizer: Any
    world: World
    half: bool
    """Whether matrices are multiplied in bfloat16."""
    form: Form
    work: Work
    learning: dict[str, int]
    """As the card tells it."""
    features: Features | None
    """The tower, where its features are kept."""

    def pixels(self) -> Pixels:
        """What makes a batch's pictures."""
        plain = pixels_of(self.built)
        return plain if self.features is None else self.features.pixels(plain)

    def computing(self) -> Any:
        """Context of a forward pass."""
        import torch

        if not self.half or self.sharded:
            return nullcontext()
        return torch.autocast(self.world.device.type, torch.bfloat16)

    @property
    def sharded(self) -> bool:
        """Whether parameters are FSDP2's."""
        return any(hasattr(p, "full_tensor") for p in self.named.values())

    def syncing(self, last: bool) -> Any:
        """Context of a batch, forward and back: gradients travel with a step's last one only."""
        if self.sharded:
            self.built.model.set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last or self.model is self.built.model else self.model.no_sync()

    def unseen(self) -> list[Any]:
        """Parameters that a batch without a picture does not use."""
        core = self.built.core.model
        found = [*core.multi_modal_projector.parameters(), getattr(core, "image_newline", None)]
        return [p for p in found if p is not None and p.requires_grad]


def loaded(config: TrainConfig, run: Path, number: int, learns: bool = False) -> Built:
    """What is configured, with all that the first `number` stages saved; nothing frozen. `learns`: the language model
    as it is while something learns, which may be in 4 bits; else in its own precision."""
    attention = config.model.language.attention if config.model is not None else "sdpa"
    done = [outputs(run, stage) for stage in config.stages[:number]]
    whole = [i for i, folder in enumerate(done) if folder.name == MODEL]
    if whole:
        built = load_model(done[whole[-1]], attention)
    elif config.model is not None:
        built = build(config.model if learns else _unpacked(config.model))
    else:
        built = load_model(str(config.base), attention)
    projectors = done[whole[-1] + 1 :] if whole else done
    if projectors:
        load_projector(built, projectors[-1])
    return built


def started(config: TrainConfig, run: Path, number: int, learns: bool = False) -> Built:
    """The model that a stage begins with, frozen but for what it learns. `learns`: as for `loaded`."""
    return freeze(loaded(config, run, number, learns), config.stages[number].freeze, config.seed)


def _unpacked(config: ModelConfig) -> ModelConfig:
    return config.model_copy(update={"language": config.language.model_copy(update={"quantize": None})})


def ready(config: TrainConfig, run: Path, number: int, world: World) -> Ready:
    """Raises WrongRequest."""
    import torch

    built = started(config, run, number, learns=True)
    half = next(built.core.model.language_model.parameters()).dtype == torch.bfloat16
    found, told = trainable(built.model), learning(built)
    if not found.count:
        raise WrongRequest(f"stage {config.stages[number].name}: nothing learns", "set freeze.train")
    parameters = dict(built.model.named_parameters())
    for name in found.parameters:  # small steps are lost in bfloat16's eight bits
        parameters[name].data = parameters[name].data.float()
    built.model.to(world.device)
    set_training(built)
    _save_memory(config, built)
    work = work_of(built)
    features, kept = None, config.stages[number].features
    if kept is not None:
        autocast = half and not (world.joined and config.parallel == "fsdp2")
        features = take_out(built, kept, world.device, autocast, f"{run.resolve()} {world.rank}")
    model = _spread(config, built, world, half)
    named = {n: p for n, p in built.model.named_parameters() if p.requires_grad}
    flash = built.core.config.text_config._attn_implementation == "flash_attention_2"
    form = Form.varlen if flash else Form.positions
    optimizer = make_optimizer(named, config.stages[number].optim)
    return Ready(built, model, named, optimizer, world, half, form, work, told, features)


def _save_memory(config: TrainConfig, built: Built) -> None:
    core = built.core
    if config.gradient_checkpointing:
        core.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if config.compile:
        for layer in core.model.language_model.layers:
            layer.compile()


def _spread(config: TrainConfig, built: Built, world: World, half: bool) -> Any:
    """What is called in the place of the model."""
    import torch

    if not world.joined or (world.size == 1 and config.parallel == "ddp"):
        return built.model
    if config.parallel == "ddp":
        own = [world.device.index] if world.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(
            built.model, device_ids=own, broadcast_buffers=False, gradient_as_bucket_view=True
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
    mesh = init_device_mesh(world.device.type, (world.size,))
    for layer in built.core.model.language_model.layers:
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    return fully_shard(built.model, mesh=mesh, mp_policy=policy, reshard_after_forward=False)
