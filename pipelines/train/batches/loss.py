"""The loss over label tokens, so that batches of any shape, ranks and accumulation add up to one mean."""

from typing import TYPE_CHECKING

from pipelines.train.batches.encode import IGNORED

if TYPE_CHECKING:
    import torch


def label_loss(logits: "torch.Tensor", labels: "torch.Tensor", total: "float | torch.Tensor") -> "torch.Tensor":
    """Sum of the cross entropies of all label tokens, divided by `total`: the label tokens of the whole step, all ranks
    and accumulated batches together. Gradients of such losses add up (DDP averages: multiply by the world size).

    logits (rows, length, vocabulary), computed in float32; labels (rows, length), not shifted. Equals transformers'
    loss with `num_items_in_batch=total`. Raises nothing where a batch has no label: its loss is 0.
    """
    from torch.nn import functional

    found = logits[:, :-1].float().flatten(0, 1)
    wanted = labels[:, 1:].flatten()
    return functional.cross_entropy(found, wanted, ignore_index=IGNORED, reduction="sum") / total
