"""Which CLIP a recipe names: checked without loading it, described by its files' hashes, loaded through open_clip.

Names are open_clip's: `local-dir:FOLDER`, `hf-hub:org/name`, or a built-in name with `pretrained` (a tag, or the path
of a checkpoint). Checking, describing and the device need no torch, but for a tag: which file a tag means is known to
open_clip alone, and importing it imports torch.
"""

import difflib
import hashlib
import importlib.util
import json
import os
import pickle
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig

_LOCAL, _HUB = "local-dir:", "hf-hub:"
_CONFIG = "open_clip_config.json"
_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")
# Files that transformers.AutoTokenizer may read; cards and licences are not among them.
_TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "vocab.txt", "merges.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model", "config.json",
)  # fmt: skip
_HUB_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_LIBRARIES = ("torch", "torchvision", "open-clip-torch", "transformers", "tokenizers", "ftfy", "regex")


def device_kind(asked: str) -> str:
    """`cpu` or `cuda`, without importing torch. `auto` is cuda where a GPU's device file is there and not hidden.

    A driver on a machine without a GPU that sends work to workers with one has to ask for cuda in the recipe.
    """
    if asked != "auto":
        return asked
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all") in ("", "-1", "NoDevFiles"):
        return "cpu"
    return "cuda" if any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists() else "cpu"


def precision_on(device: str, asked: str) -> str:
    """`fp32` or `bf16`."""
    return asked if asked != "auto" else ("bf16" if device == "cuda" else "fp32")


def check(config: ClipConfig) -> None:
    """Raises WrongRequest for a model that cannot be: unknown name, missing folder or file, no weights."""
    name = config.model
    if config.pretrained and name.startswith((_LOCAL, _HUB)):
        raise WrongRequest(f"clip.pretrained has no meaning beside {name!r}", "leave it out")
    if name.startswith(_LOCAL):
        _check_folder(Path(name.removeprefix(_LOCAL)), name)
    elif name.startswith(_HUB):
        if name.removeprefix(_HUB).count("/") != 1:
            raise WrongRequest(f"clip.model {name!r} is not hf-hub:ORGANISATION/NAME", "give both parts")
    else:
        _check_built_in(name, config.pretrained)


def _check_folder(folder: Path, name: str) -> None:
    if not folder.is_dir():
        raise WrongRequest(f"clip.model {name!r}: there is no folder {str(folder)!r}", "correct the path")
    if not (folder / _CONFIG).is_file():
        raise WrongRequest(f"clip.model {name!r}: {_CONFIG} is missing there", "name an open_clip model folder")
    _folder_config(folder)
    if not any(p.suffix in _WEIGHTS for p in folder.iterdir()):
        raise WrongRequest(f"clip.model {name!r} has no weights", "add open_clip_model.safetensors")


def _folder_config(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongRequest(f"{folder / _CONFIG} is not JSON: {error}", "restore the file") from error
    if not isinstance(found, dict) or "model_cfg" not in found:
        raise WrongRequest(f"{folder / _CONFIG} has no model_cfg", "name an open_clip model folder")
    return found["model_cfg"]


def _check_built_in(name: str, pretrained: str | None) -> None:
    known = _built_in_configs()
    if name.replace("/", "-") not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(near)}?" if near else "see open_clip.list_models()"
        raise WrongRequest(f"clip.model {name!r} is unknown to open_clip", hint)
    if not pretrained:
        raise WrongRequest(f"clip.model {name!r} needs clip.pretrained", "without it the weights would be random")
    if Path(pretrained).is_file():
        return
    if _looks_like_path(pretrained):
        raise WrongRequest(f"clip.pretrained: there is no file {pretrained!r}", "correct the path")
    tags = _tags(name)
    if pretrained.lower().replace("-", "_") not in tags:
        near = difflib.get_close_matches(pretrained, tags, n=3, cutoff=0.3) or tags[:5]
        raise WrongRequest(f"clip.pretrained {pretrained!r} is no tag of {name}", f"tags are: {', '.join(near)}")


def _looks_like_path(pretrained: str) -> bool:
    return os.sep in pretrained or Path(pretrained).suffix in _WEIGHTS


def _built_in_configs() -> dict[str, Path]:
    """Name → configuration file of open_clip's built-in models, read from its folder without importing it."""
    spec = importlib.util.find_spec("open_clip")
    if spec is None or spec.origin is None:
        raise WrongRequest("open_clip is not installed", "run `uv sync`")
    return {p.stem: p for p in (Path(spec.origin).parent / "model_configs").glob("*.json")}


def _tags(name: str) -> list[str]:
    import open_clip

    return open_clip.list_pretrained_tags_by_model(name.replace("/", "-"))


def describe(config: ClipConfig) -> dict[str, Any]:
    """The model as the fingerprint sees it: its name, and file name → sha256; no path of this machine.

    Weights that are not in the local cache yet are described as such until `fetch` brings them.
    """
    check(config)
    name = config.model
    if name.startswith(_LOCAL):
        return {"name": "local-dir", "files": _hashes(_folder_files(Path(name.removeprefix(_LOCAL))))}
    if config.pretrained and not name.startswith(_HUB) and Path(config.pretrained).is_file():
        files = {"checkpoint": Path(config.pretrained), **_tokenizer_files(name)}
        return {"name": name, "files": _hashes(files)}
    files = _cached_files(config)
    tag = None if name.startswith(_HUB) else config.pretrained
    missing = not any(n.endswith(_WEIGHTS) for n in files)
    return {"name": name, "pretrained": tag, "files": _hashes(files), **({"not_fetched": True} if missing else {})}


def _folder_files(folder: Path) -> dict[str, Path]:
    return {p.name: p for p in folder.iterdir() if p.name in (_CONFIG, *_TOKENIZER) or p.suffix in _WEIGHTS}


def _cached_files(config: ClipConfig) -> dict[str, Path]:
    """Files of a hub model or of a pretrained tag that lie in the local caches, and its tokenizer's."""
    if config.model.startswith(_HUB):
        repository = config.model.removeprefix(_HUB)
        own = _from_hub_cache(repository, (_CONFIG, *_HUB_WEIGHTS))
        return {**own, **_tokenizer_files(config.model)}
    return {**_tag_files(config), **_tokenizer_files(config.model)}


def _tag_files(config: ClipConfig) -> dict[str, Path]:
    import open_clip

    found: dict[str, Any] = open_clip.get_pretrained_cfg(config.model.replace("/", "-"), config.pretrained or "")
    repository, _, file = found.get("hf_hub", "").rpartition("/")
    if repository:
        safe = str(Path(file).with_suffix(".safetensors")) if file else ""
        cached = _from_hub_cache(repository, tuple(n for n in (safe, file) if n) or _HUB_WEIGHTS)
        return dict(list(cached.items())[:1])  # open_clip takes the first of these
    path = Path("~/.cache/clip").expanduser() / Path(found.get("url", "")).name
    return {path.name: path} if found.get("url") and path.is_file() else {}


def _tokenizer_files(name: str) -> dict[str, Path]:
    """Tokenizer files of a model that takes its tokenizer from the hub, as far as they are cached."""
    if name.startswith(_HUB):
        cached = _from_hub_cache(name.removeprefix(_HUB), (_CONFIG,)).get(_CONFIG)
        text = json.loads(cached.read_text(encoding="utf-8"))["model_cfg"]["text_cfg"] if cached else {}
    else:
        text = json.loads(_built_in_configs()[name.replace("/", "-")].read_text(encoding="utf-8"))["text_cfg"]
    repository = text.get("hf_tokenizer_name")
    if not repository:
        return {}
    return {f"tokenizer/{n}": p for n, p in _from_hub_cache(repository, _TOKENIZER).items()}


def _from_hub_cache(repository: str, names: tuple[str, ...]) -> dict[str, Path]:
    from huggingface_hub import try_to_load_from_cache

    found = ((name, try_to_load_from_cache(repository, name)) for name in names)
    return {name: Path(path) for name, path in found if isinstance(path, str)}


def _hashes(files: dict[str, Path]) -> dict[str, str]:
    return dict(sorted(_hashed(files)))


def _hashed(files: dict[str, Path]) -> Iterator[tuple[str, str]]:
    for name, path in files.items():
        with path.open("rb") as f:
            yield name, hashlib.file_digest(f, "sha256").hexdigest()


def libraries() -> dict[str, str]:
    """Installed versions of what computes an embedding."""
    return {name: found for name in _LIBRARIES if (found := _version(name))}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def fetch(config: ClipConfig) -> None:
    """Download what a tag or a hub name stands for into the local caches; nothing to do for local models.

    Raises WrongRequest when it cannot be had.
    """
    check(config)
    if config.model.startswith(_LOCAL) or (config.pretrained and Path(config.pretrained).is_file()):
        return
    import open_clip
    from open_clip.pretrained import download_pretrained_from_hf

    try:
        if config.model.startswith(_HUB):
            repository = config.model.removeprefix(_HUB)
            download_pretrained_from_hf(repository, filename=_CONFIG)
            download_pretrained_from_hf(repository)
        else:
            found = open_clip.get_pretrained_cfg(config.model.replace("/", "-"), config.pretrained or "")
            open_clip.download_pretrained(found)
        open_clip.get_tokenizer(config.model)
    except (OSError, ValueError, RuntimeError) as error:
        asked = " ".join(filter(None, (config.model, config.pretrained)))
        raise WrongRequest(
            f"the weights of {asked} cannot be fetched: {str(error).splitlines()[0]}",
            "check the name and the network, or name a local-dir: model",
        ) from error


def load(config: ClipConfig, device: str, precision: str) -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """(model in eval mode on `device`, its inference transform, its tokenizer). Never with random weights."""
    import open_clip
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from safetensors import SafetensorError

    try:
        model: Any = open_clip.create_model(
            config.model, config.pretrained, precision=precision, device=device, require_pretrained=True
        )
        tokenizer = open_clip.get_tokenizer(config.model)
    except (OSError, ValueError, RuntimeError, SafetensorError, pickle.UnpicklingError) as error:
        why = str(error).splitlines()[0]
        raise WrongRequest(f"clip.model {config.model!r} cannot be loaded: {why}", "check its files") from error
    transform: Any = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    return model.eval(), transform, tokenizer
