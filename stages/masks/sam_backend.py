"""The SAMs behind the one face of who finds masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from schemas.errors import WrongRequest
from schemas.mask import Prompt
from schemas.masks_config import MasksConfig, SamConfig
from stages.masks import models
from stages.masks.backend import Found, Prompts
from stages.masks.embeddings import Embeddings
from stages.masks.encoder import Embedded, check_picture
from stages.masks.everything import Encoder, segment
from stages.masks.prompted import prompted
from stages.masks.sam import Sam
from stages.masks.words import Sam3Words
from stages.measure.clip_model import device_kind, precision_on
from stages.torch_settings import TorchSettings, require_device


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
        self._kept: Embeddings | None = None
        self._identity: dict[str, Any] | None = None

    def open(self) -> None:
        """Load the model; from the hub, where it is not in the local cache yet."""
        if self._loaded is None:
            self.fetch_weights()
            models.check(self.sam.model, self.config.prompt)
            self._loaded = _Loaded(self.config, self.device, self.precision)
            if self.sam.embeddings is not None:
                made_by = {**self.identity(), "threads": self.sam.threads}
                self._kept = Embeddings(Path(self.sam.embeddings), self._loaded.model, made_by)

    def close(self) -> None:
        if self._loaded is not None:
            self._loaded.release()
            self._loaded = self._kept = None

    def fetch_weights(self) -> None:
        """Bring a model of the hub into the local cache, so that `identity` can hash it."""
        if models.folder(self.sam.model) is None:
            models.fetch(self.sam.model)
            self._identity = None

    @property
    def encoded_pictures(self) -> int:
        """How many pictures (and windows of pictures) went through the encoder since `open`."""
        return self._model().encoded_pictures

    def identity(self) -> dict[str, Any]:
        """The sha256 of the model's files, its model_type, the precision, the kind of device, the libraries.

        And whether pictures are embedded one at a time, as they are where embeddings are kept: that decides last bits.
        """
        if self._identity is None:
            models.check(self.sam.model, self.config.prompt)
            self._identity = {
                "backend": "sam",
                "model": models.describe(self.sam.model),
                "device": self.device,
                "precision": self.precision,
                "libraries": models.libraries(),
                "embedded_alone": self.sam.embeddings is not None,
            }
        return self._identity

    def find(self, pictures: Sequence[np.ndarray], prompts: Sequence[Prompts]) -> list[list[Found]]:
        """The masks of each picture; none for one too thin for the model (`Sam.fits`)."""
        if len(pictures) != len(prompts):
            raise ValueError(f"{len(pictures)} pictures and {len(prompts)} prompts")
        for rgb in pictures:
            check_picture(rgb)
        model, most = self._model(), self.sam.pictures_per_pass
        if self.config.prompt is Prompt.everything and isinstance(model, Sam):
            return segment(model, pictures, self.config.everything, Encoder(self._embed, most))
        todo = [i for i, rgb in enumerate(pictures) if self._asked(prompts[i]) and model.fits(*rgb.shape[:2])]
        found: list[list[Found]] = [[] for _ in pictures]
        for start in range(0, len(todo), most):
            some = todo[start : start + most]
            embedded = self._embed([pictures[i] for i in some])
            for i, masks in zip(some, self._answers(embedded, [prompts[i] for i in some]), strict=True):
                found[i] = masks
        return found

    def _asked(self, prompts: Prompts) -> Sequence[object]:
        """Those of the kind that is asked."""
        kinds = {Prompt.box: prompts.boxes, Prompt.point: prompts.points, Prompt.text: prompts.words}
        return kinds[self.config.prompt]

    def _answers(self, embedded: Embedded, prompts: Sequence[Prompts]) -> list[list[Found]]:
        model = self._model()
        if isinstance(model, Sam3Words):
            words = [p.words for p in prompts]
            return model.find(embedded, words, self.sam.word_score, self.sam.pictures_per_pass)
        if self.config.prompt is Prompt.box:
            return prompted(model, embedded, "box", [p.boxes for p in prompts], self.config.everything)
        return prompted(model, embedded, "point", [p.points for p in prompts], self.config.everything)

    def _embed(self, pictures: Sequence[np.ndarray]) -> Embedded:
        return (self._kept or self._model()).embed(pictures)

    def _model(self) -> Sam | Sam3Words:
        if self._loaded is None:
            raise RuntimeError("the SAM backend is not open")
        return self._loaded.model


class _Loaded:
    """The model on a device, and the torch settings to put back."""

    def __init__(self, config: MasksConfig, device: str, precision: str) -> None:

        assert config.sam is not None
        require_device(device, "masks.sam", "masks.sam.device")
        self.device = device
        load = models.load_words if config.prompt is Prompt.text else models.load
        self.model: Sam | Sam3Words = load(config.sam.model, device, precision)
        self._settings = TorchSettings(config.sam.threads)

    def release(self) -> None:
        import torch

        self._settings.restore()
        if self.device == "cuda":
            del self.model
            torch.cuda.empty_cache()
