"""A training run: its stages, what each learns from and how long, and what is kept of it.

Defaults are LLaVA-1.5's (arXiv:2310.03744; haotian-liu/LLaVA, scripts/v1_5) where no other source is named.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from schemas.config import RUNTIME, StageConfig
from schemas.stream import StreamConfig
from schemas.train import FreezeConfig, ModelConfig
from schemas.train_batch import BatchConfig

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]


class OptimConfig(StageConfig):
    """AdamW (arXiv:1711.05101), its rate rising linearly and then falling as half a cosine (arXiv:1608.03983)."""

    lr: Positive = 1e-3
    """At its highest. LLaVA-1.5: 1e-3 for the projector alone, 2e-4 for adapters, 2e-5 for the whole language model."""
    projector_lr: Positive | None = None
    """Of the projector (and LLaVA-NeXT's newline token); null: lr. LLaVA-1.5 with adapters: 2e-5."""
    warmup: Share = 0.03
    """Share of the steps in which the rate rises."""
    floor: Share = 0.0
    """What the rate falls to, as a share of lr."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Of matrices; never of biases and norms."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    eps: Positive = 1e-8
    clip: Positive | None = 1.0
    """Longest gradient, over all that learns together; null: not clipped."""


class FeatureConfig(StageConfig):
    """The vision tower's features, kept on disk: a picture that was seen once, in this run or another, is not seen
    again. They are kept in bfloat16, and the projector gets them so from the first time on."""

    folder: Annotated[str, Field(min_length=1), RUNTIME]
    """A local folder, shared by runs and processes; each tower and its preprocessing have a folder in it."""
    most_bytes: Annotated[int, Field(gt=0), RUNTIME] = 256 << 30
    """Nothing is stored beyond, but for what each process has in its hands (`file_bytes`). ViT-L/14 at 336 pixels takes
    1.2 MB for a picture."""
    file_bytes: Annotated[int, Field(gt=0), RUNTIME] = 64 << 20
    """Of a file, at least; checkpoints and the stage's end write what there is."""


class TrainStage(StageConfig):
    """One stage: what learns from which samples, in how many steps."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,39}$")]
    data: StreamConfig
    batches: BatchConfig = BatchConfig()
    freeze: FreezeConfig = FreezeConfig()
    optim: OptimConfig = OptimConfig()
    features: FeatureConfig | None = None
    """Null: the tower sees every picture each time. Only family llava."""
    steps: Count | None = None
    """Null: until the stream ends; its batches are counted before the first step. A stream that ends before so many
    steps are done ends the run with an error."""
    accumulate: Count = 1
    """Batches of each rank in a step. The loss of a step is one mean over all its label tokens."""


class CheckpointConfig(StageConfig):
    """Beside these, a checkpoint is written at the end of every stage and when the run is told to stop."""

    every: Annotated[int, Field(ge=1), RUNTIME] = 500
    """Steps between checkpoints."""
    keep: Annotated[int, Field(ge=1), RUNTIME] = 2
    """The newest so many stay."""


class LogConfig(StageConfig):
    """logs/steps.jsonl is always written."""

    tensorboard: Annotated[bool, RUNTIME] = False
    """Into logs/tensorboard. Needs the extra `logs`."""
    wandb: Annotated[str | None, RUNTIME] = None
    """A project of Weights & Biases. Needs the extra `logs`, and WANDB_MODE=offline where there is no network."""
    peak_flops: Annotated[float | None, Field(gt=0), RUNTIME] = None
    """Of one device, a second, in bf16 without sparsity; null: as its maker says, where the device is known."""


class TrainConfig(StageConfig):
    """A run. Relative paths are relative to the current folder."""

    model: ModelConfig | None = None
    """What is built of its parts; or `base`."""
    base: str | None = None
    """A saved model to go on from: a folder that pairmill saved, or a LLaVA of transformers by its name."""
    stages: Annotated[list[TrainStage], Field(min_length=1)]
    """One after the other, each from what the one before it learnt."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Of dropout and of adapters' first values."""
    device: Annotated[Literal["auto", "cpu", "cuda"], RUNTIME] = "auto"
    parallel: Annotated[Literal["ddp", "fsdp2"], RUNTIME] = "ddp"
    """With several processes (torchrun): a whole model in each, or parameters, gradients and optimizer in shards."""
    compile: Annotated[bool, RUNTIME] = False
    """torch.compile of the language model's layers."""
    gradient_checkpointing: Annotated[bool, RUNTIME] = False
    """Activations inside a layer are computed again on the way back: less memory, a third more work."""
    threads: Annotated[int, Field(ge=1)] | None = None
    """Of torch on the CPU; they decide the last bits there. Null: as many as torch takes."""
    checkpoints: CheckpointConfig = CheckpointConfig()
    logs: LogConfig = LogConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.model is None) == (self.base is None):
            raise ValueError("set one of model and base")
        names = [stage.name for stage in self.stages]
        if len(set(names)) != len(names):
            raise ValueError(f"two stages are called {max(names, key=names.count)!r}: rename one")
        if self.model is not None and self.model.language.quantize is not None:
            self._packed()
        return self

    def _packed(self) -> None:
        """Raises ValueError for what cannot be done beside a language model in 4 bits."""
        told = "model.language.quantize: nf4"
        *before, last = [stage.freeze.train for stage in self.stages]
        if "language" in [*before, last]:
            raise ValueError(f"{told} keeps the language model as it is; set freeze.train to projector or lora")
        if "lora" in before:
            raise ValueError(f"{told}: the stage with adapters must be the last one; train what follows in another run")
        if self.device == "cpu" or self.parallel == "fsdp2":
            raise ValueError(f"{told} needs device cuda (or auto), and parallel ddp")


class StepSample(BaseModel):
    """An example of a step."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    sample_id: str
    number: int
    """Of the conversation in its sample."""
    kind: str
    source: str
    """Name of the stream's source."""
    label_tokens: int
    images: int
    loss: float
    """Sum over its label tokens."""


class StepRecord(BaseModel):
    """One step as RUN/record.jsonl has it. No clock is in it: a run that was killed and resumed writes the same."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    step: int
    """Counted from 1 over all stages."""
    stage: str
    stage_step: int
    """Counted from 1 in the stage."""
    loss: float
    """Mean over the step's label tokens."""
    grad_norm: float
    """Before clipping."""
    lr: float
    label_tokens: int
    tokens: int
    """Without padding."""
    padding: int
    images: int
    truncated: int
    """Examples that were cut."""
    cut_tokens: int
    rejected: dict[str, int]
    """Reason → conversations that were read for this step and not trained on."""
    kinds: dict[str, float]
    """Kind → mean loss of its label tokens."""
    sources: dict[str, float]
    """Source → mean loss of its label tokens."""
    samples: list[StepSample]
