"""What a run is at the end of a step: what learns, the optimizer's moments, random numbers; copied to main memory, and
put back.

Tensors are whole, whatever they were sharded over, so any number of processes may go on from them.
"""

import base64
import random
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schemas.errors import WrongData


@dataclass
class Snapshot:
    """Copies on the CPU. Only the first process' are whole where tensors are sharded."""

    weights: dict[str, Any]
    moments: dict[str, Any]
    """`NAME/exp_avg`, …"""
    state: dict[str, Any] = field(default_factory=dict)
    """JSON: where the run stands."""


def taken(named: dict[str, Any], optimizer: Any, first: bool) -> Snapshot:
    """Of the parameters that learn, by name. All processes must call it; those that are not first keep nothing."""
    out = Snapshot({}, {})
    for name, parameter in named.items():
        whole = _whole(parameter.detach())
        moments = {key: _whole(value) for key, value in optimizer.state.get(parameter, {}).items()}
        if first:
            out.weights[name] = whole.to("cpu", copy=True)
            out.moments |= {f"{name}/{key}": value.to("cpu", copy=True) for key, value in moments.items()}
    return out


def put_back(snapshot: Snapshot, named: dict[str, Any], optimizer: Any) -> None:
    """Raises WrongData where the snapshot is of other parameters."""
    import torch

    wrong = sorted(set(snapshot.weights) ^ set(named)) or [
        name for name, p in named.items() if snapshot.weights[name].shape != p.shape
    ]
    if wrong:
        raise WrongData(
            f"the checkpoint and the model do not have the same parameter {wrong[0]}",
            "go back to the model that the run began with, or start anew in another folder",
        )
    fused = any(group["fused"] for group in optimizer.param_groups)
    with torch.no_grad():
        for name, parameter in named.items():
            parameter.copy_(_like(parameter, snapshot.weights[name]))
            kept = {k.rpartition("/")[2]: v for k, v in snapshot.moments.items() if k.rpartition("/")[0] == name}
            moments = {k: _like(parameter, v) for k, v in kept.items() if k != "step"}
            if "step" in kept:
                moments["step"] = kept["step"].to(parameter.device) if fused else kept["step"]
            if moments:
                optimizer.state[parameter] = moments


def random_state(device: Any) -> dict[str, Any]:
    """JSON: of Python's, numpy's and torch's generators, in this process."""
    import torch

    version, numbers, gauss = random.getstate()
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, np.asarray(keys).tolist(), *rest],
        "torch": _text(torch.get_rng_state()),
        "cuda": _text(torch.cuda.get_rng_state(device)) if device.type == "cuda" else None,
    }


def set_random_state(state: dict[str, Any], device: Any) -> None:
    """As `random_state` had it."""
    import torch

    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys, np.uint32), *rest))
    torch.set_rng_state(_tensor(state["torch"]))
    if state["cuda"] is not None and device.type == "cuda":
        torch.cuda.set_rng_state(_tensor(state["cuda"]), device)


def seed_all(*parts: int) -> None:
    """All generators of this process, from these numbers."""
    import torch

    seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _whole(tensor: Any) -> Any:
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def _like(parameter: Any, value: Any) -> Any:
    value = value.to(parameter.device)
    if not hasattr(parameter, "full_tensor"):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value, parameter.device_mesh, parameter.placements)


def _text(tensor: Any) -> str:
    return base64.b64encode(tensor.numpy().tobytes()).decode()


def _tensor(text: str) -> Any:
    import torch

    return torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
