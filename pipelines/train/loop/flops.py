"""Arithmetic of a step, for model FLOPs utilisation (PaLM, arXiv:2204.02311, appendix B).

PaLM counts 6N + 12LHQT for a token: 2N forward, 2N for the gradients of activations and 2N for those of weights, and
12·layers·width·length for attention. Here 2N of weights counts only for what learns, the tower has only its 2N forward
(nothing before it learns), and a token's length T is that of its example. Padding and recomputation are no work.
"""

from dataclasses import dataclass
from typing import Any

from pipelines.train.batches.collate import Batch
from pipelines.train.models import Built
from pipelines.train.quantize import values

PEAK = {
    "B200": 2250e12, "H200": 989e12, "H100 PCIe": 756e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12,
    "A10G": 70e12, "L4": 121e12,
}  # fmt: skip
"""bf16 with float32 sums, dense, a second: NVIDIA's data sheets, by a part of the name."""


@dataclass(frozen=True)
class Work:
    """Of one model."""

    per_token: float
    """Language model and its head."""
    per_pair: float
    """Attention: 12 · layers · width, for each token and token of its example."""
    per_square: float
    """Projector, for one square of a picture."""
    per_look: float
    """Tower, for one square that it sees: not those whose features were kept."""

    def of(self, batch: Batch) -> float:
        """Floating-point operations of a batch, forward and back."""
        pairs = sum((s.stop - s.start) ** 2 for s in batch.segments)
        squares, looks = squares_of(batch)
        pictures = self.per_square * squares + self.per_look * looks
        return self.per_token * batch.stats.tokens + self.per_pair * pairs + pictures


def squares_of(batch: Batch) -> tuple[int, int]:
    """(squares that the projector has, those that the tower saw), once the batch was learnt from."""
    if batch.filler or not batch.pixels:
        return 0, 0
    features: Any = batch.pixels.get("features")
    if features is not None:
        return len(features.places), features.looked
    squares = batch.pixels["pixel_values"].shape[:-3].numel()
    return squares, squares


def work_of(built: Built) -> Work:
    """Before the parameters are put into shards."""
    core = built.core
    text = core.config.text_config
    learning, all_of = _sizes(core.lm_head)
    for name, module in core.model.language_model.named_children():
        if "embed" not in name:
            learns, size = _sizes(module)
            learning, all_of = learning + learns, all_of + size
    tower = _sizes(core.model.vision_tower)[1]
    projector = _sizes(core.model.multi_modal_projector)[1]
    patches = built.sight.rows**2
    return Work(
        4.0 * all_of + 2.0 * learning,
        12.0 * text.num_hidden_layers * text.hidden_size,
        patches * 6.0 * projector,
        patches * 2.0 * tower,
    )


def peak_of(device: Any, told: float | None) -> float | None:
    """Of one device in bf16; None where nobody knows."""
    import torch

    if told is not None or device.type != "cuda":
        return told
    name = torch.cuda.get_device_name(device)
    return next((flops for part, flops in PEAK.items() if part in name), None)


def _sizes(module: Any) -> tuple[int, int]:
    """(values that learn, all values)."""
    found = [(p.numel() if p.requires_grad else 0, values(p)) for p in module.parameters()]
    return sum(a for a, _ in found), sum(b for _, b in found)
