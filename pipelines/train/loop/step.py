"""One step of learning: its batches forward and back, one mean over all label tokens of all processes, one update."""

from typing import TYPE_CHECKING, Any

from pipelines.train.batches.collate import Batch, Form
from pipelines.train.batches.encode import IGNORED
from pipelines.train.loop.ready import Ready
from schemas.train_loop import StepSample

if TYPE_CHECKING:
    import torch


def token_losses(logits: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Cross entropy of each next token, float32 (rows, length − 1); 0 where nothing is learnt. Their sum by a total is
    `label_loss`."""
    from torch.nn import functional

    found = logits[:, :-1].float().flatten(0, 1)
    each = functional.cross_entropy(found, labels[:, 1:].flatten(), ignore_index=IGNORED, reduction="none")
    return each.view(labels.shape[0], labels.shape[1] - 1)


def label_tokens(batches: list[Batch]) -> int:
    """What this process' losses of a step are summed over."""
    return sum(int((batch.labels[:, 1:] != IGNORED).sum()) for batch in batches)


def learn(ready: Ready, batches: list[Batch], total: float) -> list["torch.Tensor"]:
    """Gradients of a step, `total` label tokens over all processes; returns each batch's token losses, on the device.

    DDP and FSDP2 divide gradients by the number of processes: the loss is multiplied by it.
    """
    out: list[torch.Tensor] = []
    for i, batch in enumerate(batches):
        with ready.syncing(i == len(batches) - 1):
            inputs = _moved(batch.inputs(ready.form), ready.world.device)
            labels = inputs.pop("labels")
            with ready.computing():
                if ready.features is not None:
                    inputs = ready.features.handed(inputs, ready.world.device)
                logits = ready.model(**inputs).logits
            losses = token_losses(logits, labels)
            loss = losses.sum() * (ready.world.size / total)
            if not batch.pixels:  # every process must have a gradient for the same parameters
                loss = loss + sum(p.sum() for p in ready.unseen()) * 0.0
            loss.backward()
        out.append(losses.detach())
    return out


def clipped(ready: Ready, longest: float | None) -> float:
    """Clip the gradients to this length; returns the length they had."""
    import torch

    norm: Any = torch.nn.utils.clip_grad_norm_(ready.named.values(), float("inf") if longest is None else longest)
    return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def samples_of(batch: Batch, losses: "torch.Tensor", form: Form) -> list[StepSample]:
    """The batch's examples with the losses of their tokens."""
    import numpy as np

    found = losses.cpu().numpy().astype(np.float64)
    out: list[StepSample] = []
    at = 0
    for segment in batch.segments:
        row, start = (0, at) if form is Form.varlen else (segment.row, segment.start)
        length = segment.stop - segment.start
        at += length
        out.append(
            StepSample(
                sample_id=segment.sample_id,
                number=segment.number,
                kind=segment.kind,
                source=segment.source,
                label_tokens=segment.label_tokens,
                images=segment.images,
                loss=float(found[row, start : start + length - 1].sum()),
            )
        )
    return out


def _moved(inputs: dict[str, Any], device: Any) -> dict[str, Any]:
    return {k: v.to(device, non_blocking=True) if hasattr(v, "to") else v for k, v in inputs.items()}
