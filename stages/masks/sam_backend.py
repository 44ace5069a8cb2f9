"""The SAMs behind the one face of who finds masks."""

import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from schemas.errors import WrongRequest
from schemas.mask import Prompt
from schemas.masks_config import MasksConfig, SamConfig
from stages.masks import models
from stages.masks.backend import Found, Prompts
from stages.masks.everything import Encoder, segment
from stages.masks.prompted import prompted
from stages.masks.sam import Embedded, Sam, check_picture
from stages.measure.clip_model import device_kind, precision_on


class SamBackend:
    """Masks by SAM, SAM-HQ, SAM 2 or SAM 3, whichever `masks.sam.model` is.

    Only the prompts that `masks.prompt` names are asked: a picture's boxes beside everything mode say nothing.
    Raises WrongRequest for a model that cannot be or cannot answer such prompts, as far as its files are here.
    """

    def __init__(self, config: MasksConfig) -> None:
        if config.sam is None:
            raise WrongRequest("masks.backend sam needs masks.sam.model", "name a folder or a model of the hub")
        self.config = config
        self.sam: SamConfig = config.sam
        self.device = device_kind(self.sam.device)
        self.precision = precision_on(self.device, self.sam.precision)
        models.check(self.sam.model, config.prompt)
        self._loaded: _Loaded | None = None

    def open(self) -> None:
        """Load the model; from the hub, where it is not in the local cache yet."""
        if self._loaded is None:
            self.fetch_weights()
            models.check(self.sam.model, self.config.prompt)
            self._loaded = _Loaded(self.sam, self.device, self.precision)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.release()
            self._loaded = None

    def fetch_weights(self) -> None:
        """Bring a model of the hub into the local cache, so that `identity` can hash it."""
        models.fetch(self.sam.model)

    @property
    def encoded_pictures(self) -> int:
        """How many pictures (and windows of pictures) went through the encoder since `open`."""
        return self._model().encoded_pictures

    def identity(self) -> dict[str, Any]:
        """The sha256 of the model's files, its model_type, the precision, the kind of device, the libraries."""
        models.check(self.sam.model, self.config.prompt)
        return {
            "backend": "sam",
            "model": models.describe(self.sam.model),
            "device": self.device,
            "precision": self.precision,
            "libraries": models.libraries(),
        }

    def find(self, pictures: Sequence[np.ndarray], prompts: Sequence[Prompts]) -> list[list[Found]]:
        """The masks of each picture; none for one too thin for the model (`Sam.fits`)."""
        if len(pictures) != len(prompts):
            raise ValueError(f"{len(pictures)} pictures and {len(prompts)} prompts")
        for rgb in pictures:
            check_picture(rgb)
        if self.config.prompt is Prompt.everything:
            encoder = Encoder(self._embed, self.sam.pictures_per_pass)
            return segment(self._model(), pictures, self.config.everything, encoder)
        if self.config.prompt is Prompt.box:
            return self._prompted(pictures, "box", [p.boxes for p in prompts])
        return self._prompted(pictures, "point", [p.points for p in prompts])

    def _prompted(
        self,
        pictures: Sequence[np.ndarray],
        kind: Literal["point", "box"],
        prompts: Sequence[Sequence[Sequence[float]]],
    ) -> list[list[Found]]:
        sam = self._model()
        todo = [i for i, rgb in enumerate(pictures) if prompts[i] and sam.fits(*rgb.shape[:2])]
        found: list[list[Found]] = [[] for _ in pictures]
        for start in range(0, len(todo), self.sam.pictures_per_pass):
            some = todo[start : start + self.sam.pictures_per_pass]
            embedded = self._embed([pictures[i] for i in some])
            masks = prompted(sam, embedded, kind, [prompts[i] for i in some], self.config.everything)
            for i, mine in zip(some, masks, strict=True):
                found[i] = mine
        return found

    def _embed(self, pictures: Sequence[np.ndarray]) -> Embedded:
        return self._model().embed(pictures)

    def _model(self) -> Sam:
        if self._loaded is None:
            raise RuntimeError("the SAM backend is not open")
        return self._loaded.model


class _Loaded:
    """The model on a device, and the torch settings to put back."""

    def __init__(self, config: SamConfig, device: str, precision: str) -> None:
        import torch

        if device == "cuda":
            if not torch.cuda.is_available():
                raise WrongRequest("masks.sam was planned for a GPU and torch finds none", "set masks.sam.device: cpu")
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what deterministic cuBLAS asks for
        self._before = (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
        torch.set_num_threads(config.threads)
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        self.device = device
        self.model = models.load(config.model, device, precision)

    def release(self) -> None:
        import torch

        threads, deterministic = self._before
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
        if self.device == "cuda":
            del self.model
            torch.cuda.empty_cache()
