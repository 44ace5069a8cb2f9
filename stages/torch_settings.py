"""Torch, set so that a model gives the same bits again, and set back afterwards."""

import os

from schemas.errors import WrongRequest


class TorchSettings:
    """Threads, deterministic algorithms, no TF32, until `restore`. Who sets last restores first."""

    def __init__(self, threads: int) -> None:
        import torch

        self._before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False

    def restore(self) -> None:
        """Threads and algorithms as they were."""
        import torch

        threads, deterministic = self._before
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def require_device(device: str, what: str, setting: str) -> None:
    """Raises WrongRequest where `what` was planned for a GPU that is not there. `setting`: the recipe's."""
    import torch

    if device == "cuda":
        if not torch.cuda.is_available():
            raise WrongRequest(f"{what} was planned for a GPU and torch finds none", f"set {setting}: cpu")
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
