"""Models out of parts: tokens and embeddings, what learns, tiles, and parts that do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.train.anyres import grid
from pipelines.train.freeze import freeze, set_training, trainable
from pipelines.train.language import add_tokens, load_language
from pipelines.train.models import Built
from schemas.errors import WrongRequest
from schemas.train import (
    AnyresConfig,
    FreezeConfig,
    LanguageConfig,
    LinearConfig,
    LoraConfig,
    ModelConfig,
    QformerConfig,
    TowerConfig,
)
from tests.pipelines.train.parts import TEXT_WIDTH, WIDTH, picture

MLP = (WIDTH + 1) * TEXT_WIDTH + (TEXT_WIDTH + 1) * TEXT_WIDTH


def test_the_image_token_is_one_token_and_has_a_row(builder: Callable[..., Built]) -> None:
    built = builder()
    image = built.core.config.image_token_index
    assert built.tokenizer("what is <image><image> ?").input_ids[2:4] == [image, image]
    rows = built.core.get_input_embeddings().weight
    assert len(rows) == len(built.tokenizer) == built.core.config.text_config.vocab_size
    assert built.tokenizer.pad_token == "<pad>"


def test_new_rows_are_the_mean_of_the_old(shelf: Path) -> None:
    model, tokenizer = load_language(LanguageConfig(model=str(shelf / "llama")), torch.float32)
    old, head = model.get_input_embeddings().weight.clone(), model.lm_head.weight.clone()
    ids = add_tokens(model, tokenizer, ["<image>"])
    assert ids == [len(old) + 1]  # behind the pad token, which it lacked
    assert torch.equal(model.get_input_embeddings().weight[: len(old)], old)
    torch.testing.assert_close(model.get_input_embeddings().weight[ids[0]], old.mean(0))
    torch.testing.assert_close(model.lm_head.weight[ids[0]], head.mean(0))


def test_a_tied_head_stays_tied(builder: Callable[..., Built]) -> None:
    built = builder(language="tied")
    assert built.core.lm_head.weight is built.core.get_input_embeddings().weight
    assert built.core.config.tie_word_embeddings


def test_embeddings_with_room_are_not_made_larger(shelf: Path) -> None:
    model, tokenizer = load_language(LanguageConfig(model=str(shelf / "tied")), torch.float32)
    model.resize_token_embeddings(64, mean_resizing=False)
    assert add_tokens(model, tokenizer, ["<image>"]) == [len(tokenizer) - 1]
    assert model.get_input_embeddings().num_embeddings == 64


def test_text_alone_is_answered_as_by_the_language_model(builder: Callable[..., Built], shelf: Path) -> None:
    alone = transformers.AutoModelForCausalLM.from_pretrained(shelf / "llama").eval()
    ids = torch.tensor([[3, 4, 5, 6, 7]])
    built = builder()
    with torch.no_grad():
        assert torch.equal(built.model(input_ids=ids).logits[..., :25], alone(input_ids=ids).logits)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_as_asked(builder: Callable[..., Built], shelf: Path, attention: Any) -> None:
    """transformers sets it back when it joins the parts."""
    built = builder(language_config=LanguageConfig(model=str(shelf / "llama"), attention=attention))
    assert built.core.model.language_model.config._attn_implementation == attention
    assert built.core.config.text_config._attn_implementation == attention


def test_a_picture_changes_what_comes_behind_it(builder: Callable[..., Built]) -> None:
    built = builder()
    said = []
    for seed in (0, 1):
        inputs = built.processor(images=picture(seed=seed), text="what is <image> ?", return_tensors="pt")
        with torch.no_grad():
            said.append(built.model(**inputs).logits[0])
    assert torch.equal(said[0][:2], said[1][:2])
    assert not torch.allclose(said[0][-1], said[1][-1])


def test_a_language_model_that_llava_would_compute_otherwise(shelf: Path, tmp_path: Path, builder: Any) -> None:
    """Cohere scales its logits, which LLaVA's class would leave out; GPT-J's head has a bias."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(shelf / "tied")
    common = {"vocab_size": len(tokenizer), "bos_token_id": None, "eos_token_id": 2, "pad_token_id": 3}
    scaled = transformers.CohereForCausalLM(
        transformers.CohereConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, logit_scale=0.5, **common
        )
    )
    biased = transformers.GPTJForCausalLM(
        transformers.GPTJConfig(n_embd=16, n_layer=1, n_head=2, rotary_dim=4, n_positions=32, **common)
    )
    for model, why in ((scaled, "scaled or capped logits"), (biased, "not of the plain make")):
        model.save_pretrained(tmp_path / model.config.model_type)
        tokenizer.save_pretrained(tmp_path / model.config.model_type)
        with pytest.raises(WrongRequest, match=why):
            builder(language_config=LanguageConfig(model=str(tmp_path / model.config.model_type), attention="eager"))


def test_parts_that_do_not_fit(builder: Callable[..., Built], shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="no place for the registers"):
        builder("registers", family="llava_next")
    with pytest.raises(WrongRequest, match=r"counts in tiles of 28 pixels, .* not of 42; set tower.side: 28"):
        builder(family="llava_next", tower_config=TowerConfig(model=str(shelf / "dinov2"), side=42))
    with pytest.raises(ValueError, match=r"projector qformer does not give; take family: llava"):
        builder(family="llava_onevision", projector=QformerConfig())
    with pytest.raises(WrongRequest, match="'<pad>' is the tokenizer's padding"):
        builder(language="tied", image_token="<pad>")
    with pytest.raises(WrongRequest, match=r"there is no file '.*none\.gguf'"):
        builder(language_config=LanguageConfig(model=str(tmp_path / "none.gguf")))
    with pytest.raises(WrongRequest, match=r"language\.model '.*' cannot be loaded"):
        builder(language_config=LanguageConfig(model=str(tmp_path)))


@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_stage_1_learns_the_projector_alone(builder: Callable[..., Built], family: str) -> None:
    built = freeze(builder(family=family), FreezeConfig())
    found = trainable(built.model)
    newline = TEXT_WIDTH if family == "llava_next" else 0
    assert found.count == MLP + newline
    assert found.total == sum(p.numel() for p in built.model.parameters())
    assert all("multi_modal_projector" in n or "image_newline" in n for n in found.parameters)
    inputs = built.processor(images=picture(), text="what is <image> ?", return_tensors="pt")
    built.model(**inputs, labels=inputs["input_ids"]).loss.backward()
    with_gradient = {n for n, p in built.model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == set(found.parameters)


def test_stage_2_with_adapters(builder: Callable[..., Built]) -> None:
    built = freeze(builder(language="tied"), FreezeConfig(train="lora", lora=LoraConfig(rank=2, alpha=4)))
    found = trainable(built.model)
    adapters = 2 * 2 * (4 * (24 + 24) + 3 * (24 + 32))  # layers × rank × (in + out) of q k v o and gate up down
    assert found.count == MLP + adapters
    assert not any("vision_tower" in n or "lm_head" in n for n in found.parameters)
    assert sum("lora_" in n for n in found.parameters) == 2 * 7 * 2
    with pytest.raises(WrongRequest, match="has adapters already"):
        freeze(built, FreezeConfig(train="lora"))


def test_adapters_first_values_are_the_seeds(builder: Callable[..., Built]) -> None:
    def first(seed: int) -> dict[str, torch.Tensor]:
        built = freeze(builder(), FreezeConfig(train="lora", lora=LoraConfig(rank=2, targets=["q_proj"])), seed)
        return {n: p for n, p in built.model.named_parameters() if "lora_A" in n}

    one, same, other = first(1), first(1), first(2)
    assert len(one) == 2
    assert all(torch.equal(one[n], same[n]) and not torch.equal(one[n], other[n]) for n in one)


def test_targets_that_are_none(builder: Callable[..., Built]) -> None:
    with pytest.raises(WrongRequest, match=r"no linear layer 'c_attn'; take of down_proj, gate_proj"):
        freeze(builder(), FreezeConfig(train="lora", lora=LoraConfig(targets=["q_proj", "c_attn"])))


@pytest.mark.parametrize("language", ["llama", "tied"])
def test_stage_2_with_the_whole_language_model(builder: Callable[..., Built], language: str) -> None:
    built = freeze(builder(language=language), FreezeConfig(train="language"))
    tower = sum(p.numel() for p in built.core.model.vision_tower.parameters())
    found = trainable(built.model)
    assert found.count == found.total - tower
    set_training(built)
    assert built.core.model.language_model.training and not built.core.model.vision_tower.training


def test_a_plan_undoes_the_one_before(builder: Callable[..., Built]) -> None:
    built = builder()
    freeze(built, FreezeConfig(train="language"))
    assert trainable(freeze(built, FreezeConfig()).model).count == MLP


@pytest.fixture(scope="module")
def tiled(shelf: Path) -> dict[str, Built]:
    """A model with tiles of each family."""
    from pipelines.train.models import build

    part = {"tower": TowerConfig(model=str(shelf / "clip")), "language": LanguageConfig(model=str(shelf / "llama"))}
    grids = [(a, b) for a in range(1, 4) for b in range(1, 4)]
    return {
        "llava_next": build(ModelConfig(family="llava_next", **part)),
        "llava_onevision": build(
            ModelConfig(family="llava_onevision", anyres=AnyresConfig(grids=grids, most=4), **part)
        ),
        "siglip": build(
            ModelConfig(
                family="llava_onevision",
                tower=TowerConfig(model=str(shelf / "siglip")),
                language=part["language"],
                projector=LinearConfig(),
            )
        ),
    }


@pytest.mark.parametrize("which", ["llava_next", "llava_onevision", "siglip"])
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(st.integers(1, 150), st.integers(1, 150)) | st.sampled_from([(1, 999), (999, 1), (1, 1), (84, 84)]))
def test_tokens_counted_ahead_are_the_features_that_come(
    tiled: dict[str, Built], which: str, size: tuple[int, int]
) -> None:
    """Or transformers would refuse the batch in the middle of a run."""
    built = tiled[which]
    with torch.no_grad():
        seen = built.core.model.get_image_features(**built.pictures([[picture(*size)]])).pooler_output
    assert len(seen) == 1
    assert seen[0].shape == (built.image_tokens(*size), TEXT_WIDTH)


def test_several_pictures_in_one_sample(tiled: dict[str, Built]) -> None:
    """LLaVA-NeXT gives each its tiles; LLaVA-OneVision gives tiles to a picture that is alone, else one to each.

    By hand, 60 × 30: on 2 × 1 tiles of 4 × 4 patches 8 × 4, 8 newlines, thumbnail 16; on 3 × 2 without the padding
    12 × 6, 12, 16. 30 × 90: on 1 × 3 tiles 4 × 12, 4, 16. One tile: 16 and a newline.
    """
    samples = [[picture(60, 30)], [], [picture(60, 30), picture(30, 90)]]
    for which, expected in {"llava_next": [56, 56, 68], "llava_onevision": [100, 17, 17]}.items():
        built = tiled[which]
        with torch.no_grad():
            seen = built.core.model.get_image_features(**built.pictures(samples)).pooler_output
        assert [len(s) for s in seen] == expected
        assert [built.image_tokens(*p.shape[:2], alone=len(s) == 1) for s in samples for p in s] == expected
    assert tiled["llava_next"].pictures([[], []]) == {}


def test_the_grid_that_fits() -> None:
    points = [[28 * r, 28 * c] for r, c in AnyresConfig().grids]
    assert grid(30, 60, points, 28) == (1, 2)
    assert grid(10, 300, points, 28) == (1, 3)
    assert grid(300, 10, points, 28) == (3, 1)
    assert grid(500, 500, points, 28) == (2, 2)


def test_tiles_are_the_picture_and_the_first_is_its_thumbnail(tiled: dict[str, Built]) -> None:
    """A picture of four colours, one in each quarter: four tiles of one colour each, row by row."""
    colours = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]
    quarters = picture(56, 56)
    for i, colour in enumerate(colours):
        quarters[28 * (i // 2) : 28 * (i // 2) + 28, 28 * (i % 2) : 28 * (i % 2) + 28] = colour
    built = tiled["llava_next"]
    tiles = built.pictures([[quarters]])["pixel_values"][0]
    assert tiles.shape == (5, 3, 28, 28)
    images = built.processor.image_processor
    mean, std = (torch.tensor(values)[:, None, None] for values in (images.image_mean, images.image_std))
    back = (tiles * std + mean) * 255
    for i, colour in enumerate(colours):
        expected = torch.tensor(colour, dtype=torch.float32)[:, None, None].expand(3, 28, 28)
        torch.testing.assert_close(back[i + 1], expected, rtol=0, atol=1)
        y, x = 7 + 14 * (i // 2), 7 + 14 * (i % 2)
        torch.testing.assert_close(back[0][:, y, x], expected[:, 0, 0], rtol=0, atol=3)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("family", ["llava", "llava_next"])
def test_two_samples_in_one_row_learn_as_two(
    builder: Callable[..., Built], shelf: Path, family: str, attention: Any
) -> None:
    """Packed with positions that start again and a mask of blocks: the same loss and the same gradients."""
    language = LanguageConfig(model=str(shelf / "llama"), attention=attention)
    built = freeze(builder(family=family, language_config=language), FreezeConfig())
    texts, pictures = ["what is <image> ?", "<image> a red ball : yes"], [picture(), picture(20, 90, 1)]
    ids = []
    for text, shown in zip(texts, pictures, strict=True):
        inputs = built.processor(images=shown, text=text, return_tensors="pt")
        ids.append(inputs["input_ids"])
        (built.model(**inputs, labels=inputs["input_ids"]).loss * (inputs["input_ids"].shape[1] - 1)).backward()
    apart = [p.grad.clone() for p in built.projector.parameters() if p.grad is not None]
    built.model.zero_grad()
    lengths = [row.shape[1] for row in ids]
    block = torch.block_diag(*(torch.ones(n, n) for n in lengths)).tril()
    mask = torch.zeros(block.shape).masked_fill(block == 0, torch.finfo(torch.float32).min)
    labels = torch.cat(ids, 1)
    labels[0, lengths[0]] = -100  # the second sample's first token is not the first sample's to foretell
    loss = built.model(
        input_ids=torch.cat(ids, 1),
        position_ids=torch.cat([torch.arange(n) for n in lengths])[None],
        attention_mask=mask[None, None],
        labels=labels,
        **built.pictures([[shown] for shown in pictures]),
    ).loss
    (loss * (sum(lengths) - 2)).backward()
    together = [p.grad for p in built.projector.parameters()]
    assert len(apart) == len(together) == 4
    for one, other in zip(apart, together, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
