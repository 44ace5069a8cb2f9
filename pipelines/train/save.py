"""Models on disk: what stock transformers loads where it has a place for the projector, and parts where it has none.

A folder of `save_model` is one of two:

- Stock, for the projectors linear and mlp of depth 2: `LlavaForConditionalGeneration.from_pretrained(FOLDER)` and
  `AutoProcessor.from_pretrained(FOLDER)` load it (LlavaNext…, LlavaOnevision… for their families). transformers always
  has two layers, so linear is saved with a second one that changes nothing (a unit matrix) and no activation between.
- Parts, for all other projectors: vision_tower/ and language_model/ (AutoModel, AutoModelForCausalLM), config.json,
  the processor (AutoProcessor loads it from FOLDER), projector.safetensors and projector.json. Stock transformers finds
  no weights in FOLDER and says so, rather than starting with a random projector; `load_model` puts the parts together.

Adapters (peft) are saved as sums with what they adapt; the model in memory is not touched.
A folder appears under its name only when it is whole.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipelines.train.llava_projector import read_llava
from pipelines.train.models import Built
from pipelines.train.projectors.base import Projector
from schemas.errors import WrongData, WrongRequest
from schemas.train import LinearConfig, MlpConfig, ProjectorCard, ProjectorConfig

CARD, WEIGHTS = "projector.json", "projector.safetensors"
TOWER, LANGUAGE = "vision_tower", "language_model"
_PROJECTOR, _NEWLINE = "model.multi_modal_projector.", "image_newline"
_DECODER, _HEAD = "model.language_model.", "lm_head.weight"


def is_stock(config: ProjectorConfig) -> bool:
    """Whether transformers has a place for such a projector."""
    return isinstance(config, LinearConfig) or (isinstance(config, MlpConfig) and config.depth == 2)


def save_model(built: Built, folder: Path) -> None:
    """Model and processor, adapters added in. Raises WrongRequest where the folder exists."""
    state = _state(built.core)
    with whole(folder) as new:
        if is_stock(built.projector_config):
            if isinstance(built.projector_config, LinearConfig):
                state |= _unit_layer(built.projector)
            built.core.save_pretrained(new, state_dict=state)
        else:
            _save_parts(built, state, new)
        built.processor.save_pretrained(new)
        (new / CARD).write_text(_card(built).model_dump_json(indent=2) + "\n", encoding="utf-8")


def save_projector(built: Built, folder: Path) -> None:
    """Only the projector, and the newline token of families that have one: what stage 1 learns."""
    with whole(folder) as new:
        _save_projector(built, new)


def load_projector(built: Built, folder: Path) -> None:
    """Put a saved projector's values into the model's: a folder of ours, or LLaVA's file mm_projector.bin.

    Raises WrongRequest where it was made for another model, and WrongData where the file is torn or does not hold what
    its card says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if folder.suffix == ".bin":
        found = read_llava(folder)
        wrong = _mismatch(found, _projector_state(built.core))
        if wrong:
            raise WrongRequest(f"the projector {folder} was made for another model ({wrong})", _REMEDY)
        put(built.core, found, folder)
        return
    saved, here = read_card(folder), _card(built)
    other = [
        f"{name}: {getattr(saved, name)} in the file and {getattr(here, name)} in the model"
        for name in ProjectorCard.model_fields
        if getattr(saved, name) != getattr(here, name)
    ]
    if other:
        raise WrongRequest(f"the projector in {folder} was made for another model ({'; '.join(other)})", _REMEDY)
    try:
        found = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise WrongData(f"{folder / WEIGHTS} cannot be read: {error}", "save the projector again") from error
    put(built.core, found, folder)


_REMEDY = "build the model with the same tower, language model and projector, or train a new one"


def put(core: Any, found: dict[str, Any], folder: Path) -> None:
    """A projector's tensors into a model. Raises WrongData where names or shapes are others."""
    import torch

    here = _projector_state(core)
    wrong = _mismatch(found, here)
    if wrong:
        raise WrongData(f"{folder / WEIGHTS}: {wrong}", "save the projector again")
    with torch.no_grad():
        for name, tensor in here.items():
            tensor.copy_(found[name])


def _mismatch(found: dict[str, Any], here: dict[str, Any]) -> str | None:
    """The first tensor that is there or here alone, or has another shape."""
    wrong = sorted(set(found) ^ set(here)) or [n for n in here if found[n].shape != here[n].shape]
    if not wrong:
        return None
    was, should = (tuple(state[wrong[0]].shape) if wrong[0] in state else "nothing" for state in (found, here))
    return f"{wrong[0]} is {was} and should be {should}"


def read_card(folder: Path) -> ProjectorCard:
    """projector.json of a folder. Raises WrongRequest where there is none, WrongData where it is none."""
    from pydantic import ValidationError

    try:
        return ProjectorCard.model_validate_json((folder / CARD).read_bytes())
    except OSError as error:
        raise WrongRequest(f"{folder} holds no {CARD}", "name a folder that pairmill saved") from error
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise WrongData(f"{folder / CARD}: {where}: {error.errors()[0]['msg']}", "save the projector again") from error


@contextmanager
def whole(folder: Path) -> Iterator[Path]:
    """A folder to write into that gets its name when all is written. Raises WrongRequest where that is taken."""
    if folder.exists():
        raise WrongRequest(f"{folder} exists", "name a new folder, or remove it")
    new = folder.with_name(folder.name + ".part")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    yield new
    new.rename(folder)


def _state(core: Any) -> dict[str, Any]:
    """The model's tensors under the names they have without adapters; sums, in new tensors, where there are any."""
    state = core.state_dict()
    if any(".lora_" in name for name in state):
        from peft.tuners.lora import Linear

        for name, layer in core.named_modules():
            if isinstance(layer, Linear):
                weight: Any = layer.get_base_layer().weight
                added = sum(layer.get_delta_weight(adapter).detach() for adapter in layer.active_adapters)
                state[f"{name}.base_layer.weight"] = weight.detach() + added
    return {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}


def _unit_layer(projector: Projector) -> dict[str, Any]:
    import torch

    weight = projector.get_parameter("linear_1.weight")
    width = weight.shape[0]
    return {
        f"{_PROJECTOR}linear_2.weight": torch.eye(width, dtype=weight.dtype, device=weight.device),
        f"{_PROJECTOR}linear_2.bias": torch.zeros(width, dtype=weight.dtype, device=weight.device),
    }


def _save_parts(built: Built, state: dict[str, Any], new: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    core = built.core
    core.config.save_pretrained(new)
    core.model.vision_tower.save_pretrained(new / TOWER)
    with torch.device("meta"):
        language = AutoModelForCausalLM.from_config(core.config.text_config)
    prefix = f"{language.base_model_prefix}."
    own = {prefix + n.removeprefix(_DECODER): t for n, t in state.items() if n.startswith(_DECODER)}
    if not core.config.text_config.tie_word_embeddings:
        own[_HEAD] = state[_HEAD]
    language.generation_config = core.generation_config
    language.save_pretrained(new / LANGUAGE, state_dict=own)
    _save_projector(built, new)


def _save_projector(built: Built, new: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: t.detach().contiguous() for name, t in _projector_state(built.core).items()}, new / WEIGHTS)
    (new / CARD).write_text(_card(built).model_dump_json(indent=2) + "\n", encoding="utf-8")


def _projector_state(core: Any) -> dict[str, Any]:
    state = dict(core.model.multi_modal_projector.state_dict())
    newline = getattr(core.model, _NEWLINE, None)
    return state if newline is None else {**state, _NEWLINE: newline}


def _card(built: Built) -> ProjectorCard:
    newline = getattr(built.core.model, _NEWLINE, None) is not None
    return ProjectorCard.model_validate(
        {"projector": built.projector_config, "newline": newline, **built.projector.shape.plain()}
    )
