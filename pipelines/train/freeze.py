"""What learns and what keeps its values: projector alone, with adapters on the language model, or with all of it.

The vision tower never learns. LLaVA-NeXT's newline token learns with the projector, as it does there.
"""

import re
from dataclasses import dataclass
from typing import Any

from pipelines.train.models import Built
from pipelines.train.quantize import values
from schemas.errors import WrongRequest
from schemas.train import FreezeConfig, LoraConfig

_LANGUAGE = "model.language_model."


@dataclass(frozen=True)
class Trainable:
    """What learns: parameters by name with their number of values, and how many values the model has in all."""

    parameters: dict[str, int]
    total: int

    @property
    def count(self) -> int:
        """Values that learn."""
        return sum(self.parameters.values())

    @property
    def share(self) -> float:
        """Of all values."""
        return self.count / self.total if self.total else 0.0


def freeze(built: Built, config: FreezeConfig, seed: int = 0) -> Built:
    """The model with only the plan's parameters learning. For train: lora it is peft's PeftModel, with adapters whose
    first values the seed decides. Raises WrongRequest where nothing would learn."""
    if config.train == "lora":
        built = Built(_adapted(built.core, config.lora, seed), built.processor, built.projector_config, built.sight)
    else:
        built.core.requires_grad_(False)
    core = built.core
    core.model.multi_modal_projector.requires_grad_(True)
    newline = getattr(core.model, "image_newline", None)
    if newline is not None:
        newline.requires_grad_(True)
    if config.train == "language":
        core.model.language_model.requires_grad_(True)
        core.lm_head.requires_grad_(True)
    return built


def trainable(model: Any) -> Trainable:
    """Parameters that learn; one that is shared under two names is counted once."""
    named = list(model.named_parameters())
    return Trainable({n: p.numel() for n, p in named if p.requires_grad}, sum(values(p) for _, p in named))


def set_training(built: Built) -> None:
    """Training mode (dropout) for what learns; the frozen tower sees as it always does."""
    built.model.train()
    built.core.model.vision_tower.eval()


def _adapted(model: Any, config: LoraConfig, seed: int) -> Any:
    import peft
    import torch

    if any("lora_" in name for name, _ in model.named_parameters()):
        raise WrongRequest("the model has adapters already", "save it merged, and load that")
    names = _targets(model, config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # pyright: ignore[reportArgumentType]  # peft divides it; any number will do
        lora_dropout=config.dropout,
        bias="none",
        target_modules=rf"{re.escape(_LANGUAGE)}.*\.({'|'.join(re.escape(n) for n in names)})",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.get_peft_model(model, settings)


def _targets(model: Any, asked: list[str]) -> list[str]:
    """Last names of the linear layers of the language model: those asked for, or all."""
    from torch import nn

    linear = {
        name.rsplit(".", 1)[-1]
        for name, module in model.named_modules()
        if name.startswith(_LANGUAGE) and isinstance(module, nn.Linear)
    }
    unknown = sorted(set(asked) - linear)
    if unknown:
        raise WrongRequest(
            f"lora.targets: the language model has no linear layer {unknown[0]!r}",
            f"take of {', '.join(sorted(linear))}",
        )
    return sorted(asked or linear)
