"""A saved model back: one of `save_model`, or any LLaVA, LLaVA-NeXT or LLaVA-OneVision of transformers by its name."""

from pathlib import Path
from typing import Any

from pipelines.train.families import FAMILIES
from pipelines.train.loading import hub_errors, refuse_random
from pipelines.train.models import Built, join, place
from pipelines.train.projectors.base import Shape
from pipelines.train.projectors.registry import PROJECTORS
from pipelines.train.save import CARD, LANGUAGE, TOWER, WEIGHTS, put, read_card
from pipelines.train.towers import Sight, shown, sight_of
from schemas.errors import WrongData, WrongRequest
from schemas.train import LinearConfig, MlpConfig, ProjectorConfig


def load_model(folder: str | Path, attention: str = "sdpa") -> Built:
    """Model and processor with the values and in the precision they were saved in. `attention`: the language model's
    implementation. Raises WrongRequest and WrongData."""
    from transformers import AutoConfig, AutoProcessor

    name = str(folder)
    with hub_errors("model", name):
        config = AutoConfig.from_pretrained(name)
        if config.model_type not in FAMILIES:
            raise WrongRequest(f"{name} is a {config.model_type}", f"take one of {', '.join(FAMILIES)}")
        processor = AutoProcessor.from_pretrained(name)
    side = shown(processor.image_processor)
    if side is None:
        raise WrongRequest(f"{name}: its image processor gives no squares", "take another model")
    sight = sight_of(config.vision_config, side)
    if (Path(name) / TOWER).is_dir():
        model, chosen = _parts(Path(name), config, attention)
    else:
        model, chosen = _stock(name, config, sight, attention)
    return Built(model.eval(), processor, chosen, sight)


def _stock(name: str, config: Any, sight: Sight, attention: str) -> tuple[Any, ProjectorConfig]:
    import transformers

    with hub_errors("model", name):
        model, found = getattr(transformers, FAMILIES[config.model_type].model).from_pretrained(
            name, dtype="auto", attn_implementation={"text_config": attention}, output_loading_info=True
        )
    refuse_random("model", name, found)
    carded = Path(name) / CARD
    chosen = read_card(Path(name)).projector if carded.is_file() else _recognized(config, name)
    theirs = model.model.multi_modal_projector
    shape = Shape(config.vision_config.hidden_size, config.text_config.hidden_size, sight.rows, sight.rows)
    ours = PROJECTORS[chosen.kind](chosen, shape).to(theirs.linear_1.weight.dtype)
    if isinstance(chosen, LinearConfig):
        _check_unit(theirs.linear_2, name)
    ours.load_state_dict({n: t for n, t in theirs.state_dict().items() if n in ours.state_dict()})
    model.model.multi_modal_projector = ours
    return model, chosen


def _recognized(config: Any, name: str) -> ProjectorConfig:
    if config.projector_hidden_act != "gelu" or not config.multimodal_projector_bias:
        raise WrongRequest(f"{name}: its projector is no two layers with biases and GELU", "take another model")
    if not isinstance(config.vision_feature_layer, int):
        raise WrongRequest(f"{name} takes features of several layers", "take another model")
    return MlpConfig()


def _check_unit(layer: Any, name: str) -> None:
    import torch

    unit = torch.eye(len(layer.weight), dtype=layer.weight.dtype)
    if not torch.equal(layer.weight.detach(), unit) or layer.bias.detach().any():
        raise WrongData(
            f"{name}: its projector is said to be linear and has a second layer that changes something",
            f"it was trained elsewhere: remove {CARD} and set its projector_hidden_act, or take another model",
        )


def _parts(folder: Path, config: Any, attention: str) -> tuple[Any, ProjectorConfig]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from transformers import AutoModel, AutoModelForCausalLM

    card = read_card(folder)
    with hub_errors("model", str(folder)):
        tower: Any = AutoModel.from_pretrained(folder / TOWER, dtype="auto", output_loading_info=True)
        language: Any = AutoModelForCausalLM.from_pretrained(
            folder / LANGUAGE, dtype="auto", attn_implementation=attention, output_loading_info=True
        )
        try:
            found = load_file(folder / WEIGHTS)
        except (OSError, SafetensorError) as error:
            raise WrongData(f"{folder / WEIGHTS} cannot be read: {error}", "save the model again") from error
    for part, loaded in ((TOWER, tower[1]), (LANGUAGE, language[1])):
        refuse_random("model", str(folder / part), loaded)

    def joint() -> Any:
        config.vision_config, config.text_config = tower[0].config, language[0].config
        return config

    model = join(config.model_type, joint, tower[0].eval(), language[0].eval())
    shape = Shape(card.vision_width, card.text_width, card.rows, card.columns)
    projector = PROJECTORS[card.projector.kind](card.projector, shape)
    place(model, projector.to(next(iter(found.values())).dtype), seed=0)
    put(model, found, folder)
    return model, card.projector
