"""Which SAM a recipe names: checked without loading it, described by its files' hashes, loaded through transformers.

A name is a folder that transformers saved, or ORGANISATION/NAME on the hub, whose snapshot in the local cache is such a
folder. Weights are read as safetensors alone: a pickle runs what is in it.
"""

import hashlib
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from schemas.errors import WrongRequest
from schemas.mask import Prompt
from stages.masks.sam import Sam, Sam2, Sam3Tracker, SamHq
from stages.masks.words import Sam3Words

POINTS_AND_BOXES: dict[str, type[Sam]] = {
    "sam": Sam, "sam_hq": SamHq, "sam2": Sam2, "sam2_video": Sam2, "sam3_tracker": Sam3Tracker,
    "sam3_video": Sam3Tracker,
}  # fmt: skip
"""model_type in a checkpoint's config.json → who answers points and boxes, and with them everything mode."""
WORDS = ("sam3", "sam3_video")
"""model_types that answer words."""
_CONFIG = "config.json"
# What transformers reads of a SAM: weights, its processor's settings, SAM 3's tokenizer.
_FILES = (
    _CONFIG, "*.safetensors", "model.safetensors.index.json", "preprocessor_config.json", "processor_config.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt",
)  # fmt: skip
_LIBRARIES = ("torch", "torchvision", "transformers", "tokenizers")
_HUB = re.compile(r"[\w.-]+/[\w.-]+")


def folder(name: str) -> Path | None:
    """Where the model's files lie; None for a hub name that is not fetched. Raises WrongRequest for neither."""
    path = Path(name)
    if not path.is_dir():
        if not _HUB.fullmatch(name):
            raise WrongRequest(f"masks.sam.model {name!r}: there is no such folder", "correct the path")
        return _snapshot(name)
    if not (path / _CONFIG).is_file():
        raise WrongRequest(
            f"masks.sam.model {name!r}: {_CONFIG} is missing there", "name a folder that transformers saved"
        )
    if not any(path.glob("*.safetensors")):
        raise WrongRequest(f"masks.sam.model {name!r} has no weights", "add model.safetensors")
    return path


def check(name: str, prompt: Prompt) -> str | None:
    """The checkpoint's model_type, or None where it is not fetched. Raises WrongRequest for what cannot answer."""
    if (path := folder(name)) is None:
        return None
    kind = _model_type(path)
    known = sorted({*POINTS_AND_BOXES, *WORDS})
    if kind not in known:
        raise WrongRequest(f"masks.sam.model {name!r} is a {kind!r}, no SAM", f"name one of {', '.join(known)}")
    if prompt is Prompt.text and kind not in WORDS:
        raise WrongRequest(
            f"masks.sam.model {name!r} is a {kind!r}, which takes no words",
            "name a SAM 3, or set masks.prompt to everything with masks.labels",
        )
    if prompt is not Prompt.text and kind not in POINTS_AND_BOXES:
        raise WrongRequest(
            f"masks.sam.model {name!r} is a {kind!r}, which takes words alone, not masks.prompt: {prompt}",
            "set masks.prompt: text, or name a checkpoint with SAM 3's tracker",
        )
    return kind


def describe(name: str) -> dict[str, Any]:
    """The model as the fingerprint sees it: file name → sha256; a hub model's name, and no path of this machine."""
    path = folder(name)
    shown = "folder" if Path(name).is_dir() else name
    if path is None:
        return {"name": shown, "files": {}, "not_fetched": True}
    found = {p.name: p for pattern in _FILES for p in path.glob(pattern)}
    return {"name": shown, "model_type": _model_type(path), "files": {n: _sha256(found[n]) for n in sorted(found)}}


def fetch(name: str) -> None:
    """Bring a hub model into the local cache; nothing to do for a folder. Raises WrongRequest when it cannot be had."""
    if folder(name) is not None:
        return
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(name, allow_patterns=list(_FILES))
    except (OSError, ValueError, RuntimeError) as error:
        raise WrongRequest(
            f"masks.sam.model {name!r} is no folder, and the hub does not give it: {str(error).splitlines()[0]}",
            "check the name and the network, or name a folder",
        ) from error
    if folder(name) is None:
        raise WrongRequest(f"masks.sam.model {name!r} has no weights as safetensors", "name another checkpoint")


def load(name: str, device: str, precision: str) -> Sam:
    """Who answers points and boxes, in eval mode on `device`. Never with random weights."""
    path = _here(name)
    family = POINTS_AND_BOXES[_model_type(path)]
    model, processor = _from_folder(name, path, family.classes)
    made = family(model.to(device), processor, _dtype(precision))
    pad = getattr(made.processor, "pad_size", None) or {}
    sides = {made.side, *(pad.get(key) or made.side for key in ("height", "width"))}
    _check_sides(name, sides, int(model.config.prompt_encoder_config.image_size))
    return made


def load_words(name: str, device: str, precision: str) -> Sam3Words:
    """Who answers words, as `load`."""
    model, processor = _from_folder(name, _here(name), Sam3Words.classes)
    made = Sam3Words(model.to(device), processor, _dtype(precision))
    _check_sides(name, {made.side}, int(model.config.image_size))
    return made


def _here(name: str) -> Path:
    if (path := folder(name)) is None:
        raise WrongRequest(f"masks.sam.model {name!r} is not fetched", "fetch it, or name a folder")
    return path


def _dtype(precision: str) -> Any:
    import torch

    return torch.bfloat16 if precision == "bf16" else torch.float32


def _check_sides(name: str, sides: set[int], expected: int) -> None:
    if sides != {expected}:
        raise WrongRequest(
            f"masks.sam.model {name!r}: its processor makes {max(sides)} pixels, the model takes {expected}",
            "restore its preprocessor_config.json or processor_config.json",
        )


def _from_folder(name: str, path: Path, classes: tuple[str, str]) -> tuple[Any, Any]:
    """(model in eval mode and float32, processor) by their class names in transformers."""
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model, info = getattr(transformers, classes[0]).from_pretrained(
            path, dtype=torch.float32, use_safetensors=True, local_files_only=True, output_loading_info=True
        )
        processor = getattr(transformers, classes[1]).from_pretrained(path, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        why = str(error).splitlines()[0]
        raise WrongRequest(f"masks.sam.model {name!r} cannot be loaded: {why}", "check its files") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    if missing := sorted(info["missing_keys"]) + sorted(map(str, info["mismatched_keys"])):
        raise WrongRequest(
            f"masks.sam.model {name!r} lacks {len(missing)} of its weights, such as {missing[0]}", "check its files"
        )
    return model.eval(), processor


def libraries() -> dict[str, str]:
    """Installed versions of what computes a mask."""
    return {name: found for name in _LIBRARIES if (found := _version(name))}


def _model_type(path: Path) -> str:
    try:
        found = json.loads((path / _CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongRequest(f"{path / _CONFIG} is not JSON: {error}", "restore the file") from error
    kind = found.get("model_type") if isinstance(found, dict) else None
    if not isinstance(kind, str):
        raise WrongRequest(f"{path / _CONFIG} has no model_type", "name a folder that transformers saved")
    return kind


def _snapshot(name: str) -> Path | None:
    """A hub model's folder in the local cache, if its configuration and weights are there."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(name, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    return path if (path / _CONFIG).is_file() and any(path.glob("*.safetensors")) else None


def _sha256(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
