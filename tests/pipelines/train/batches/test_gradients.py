"""Packed or not, in one batch or in several: the same loss and the same gradients, up to float32's rounding."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch

from pipelines.train.batches.collate import Batch, Form, Shape, collated
from pipelines.train.batches.example import Example
from pipelines.train.batches.loss import label_loss
from tests.pipelines.train.batches.saying import example

torch.set_num_threads(1)
LENGTHS = [5, 9, 2, 14, 7, 11]
EXAMPLES = [example(length, position=i) for i, length in enumerate(LENGTHS)]
ALONE = [[e] for e in EXAMPLES]
ROWS = [[EXAMPLES[0], EXAMPLES[3], EXAMPLES[2]], [EXAMPLES[1], EXAMPLES[4]], [EXAMPLES[5]]]
TOTAL = sum(e.label_tokens for e in EXAMPLES)
Gradients = dict[str, torch.Tensor]


def llama(attention: str) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    config._attn_implementation = attention
    return LlamaForCausalLM(config).float()


def batch_of(rows: list[list[Example]], length: int | None = None) -> Batch:
    return collated(rows, Shape(0, length), {})


def gradients(model: Any, batches: list[Batch], form: Form, total: int = TOTAL) -> tuple[float, Gradients]:
    """Loss and gradients of all batches together."""
    model.zero_grad()
    whole = 0.0
    for batch in batches:
        inputs = batch.inputs(form)
        labels = inputs.pop("labels")
        loss = label_loss(model(**inputs).logits, labels, total)
        loss.backward()
        whole += loss.item()
    return whole, {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def close(mine: tuple[float, Gradients], theirs: tuple[float, Gradients], within: float = 1e-5) -> None:
    assert mine[0] == pytest.approx(theirs[0], rel=1e-5)
    assert mine[1].keys() == theirs[1].keys()
    assert len(theirs[1]) > 10
    for name, gradient in theirs[1].items():
        assert gradient.abs().max() > 0, name
        worst = (mine[1][name] - gradient).abs().max() / gradient.abs().max()
        assert worst < within, (name, worst)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("form", [Form.positions, Form.block])
@pytest.mark.parametrize("length", [None, 24], ids=["longest", "fixed"])
def test_packed_rows_have_the_gradients_of_examples_alone(attention: str, form: Form, length: int | None) -> None:
    model = llama(attention)
    alone = gradients(model, [batch_of([[e]]) for e in EXAMPLES], Form.padded)
    close(gradients(model, [batch_of(ROWS, length)], form), alone)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padded_rows_have_the_gradients_of_examples_alone(attention: str) -> None:
    model = llama(attention)
    alone = gradients(model, [batch_of([[e]]) for e in EXAMPLES], Form.padded)
    close(gradients(model, [batch_of(ALONE)], Form.padded), alone)


def test_without_the_blocks_they_differ() -> None:
    """What the tests above could not see otherwise."""
    model = llama("sdpa")
    alone = gradients(model, [batch_of(ALONE)], Form.padded)
    packed = batch_of(ROWS)
    mixed = gradients(model, [packed], Form.positions)
    packed.position_ids = torch.arange(packed.input_ids.shape[1]).expand_as(packed.input_ids)
    through = gradients(model, [packed], Form.positions)
    assert through[0] != pytest.approx(mixed[0], rel=1e-3)
    with pytest.raises(AssertionError):
        close(through, alone)


def test_accumulated_over_any_batches_the_loss_is_one_mean() -> None:
    model = llama("sdpa")
    once = gradients(model, [batch_of(ROWS)], Form.positions)
    close(gradients(model, [batch_of([row]) for row in ROWS], Form.positions), once)
    losses = torch.cat([one_by_one(model, e) for e in EXAMPLES])
    assert once[0] == pytest.approx(losses.mean().item(), rel=1e-5)
    assert len(losses) == TOTAL


def one_by_one(model: Any, of: Example) -> torch.Tensor:
    """−log p of each label token."""
    with torch.no_grad():
        logits = model(torch.from_numpy(of.ids)[None]).logits[0]
    found = torch.log_softmax(logits, -1)
    return torch.stack([-found[i - 1, of.labels[i]] for i in range(1, len(of)) if of.labels[i] != -100])


def test_transformers_own_loss_is_the_same() -> None:
    model = llama("sdpa")
    batch = batch_of(ROWS)
    theirs = model(**batch.inputs(Form.positions), num_items_in_batch=TOTAL).loss
    assert theirs.item() == pytest.approx(gradients(model, [batch], Form.positions)[0], rel=1e-6)


def test_a_batch_without_labels_costs_nothing_and_is_no_nan() -> None:
    model = llama("sdpa")
    batch = batch_of(ROWS)
    batch.labels.fill_(-100)
    loss, found = gradients(model, [batch], Form.positions)
    assert loss == 0
    assert all(g.abs().max() == 0 for g in found.values())


# ------------------------------------------------------------------ flash attention's arguments


def looped(module: Any, query: Any, key: Any, value: Any, mask: Any, **settings: Any) -> Any:
    """What a kernel for sequences of various lengths computes, one after the other: an attention implementation that
    knows of examples by `cu_seq_lens_q` alone."""
    ends = settings["cu_seq_lens_q"].tolist()
    assert ends == settings["cu_seq_lens_k"].tolist()
    assert max(b - a for a, b in pairwise(ends)) == settings["max_length_q"] == settings["max_length_k"]
    assert ends[-1] == query.shape[2]
    out = [
        torch.nn.functional.scaled_dot_product_attention(
            query[:, :, a:b], key[:, :, a:b], value[:, :, a:b], is_causal=True, enable_gqa=True
        )
        for a, b in pairwise(ends)
    ]
    return torch.cat(out, 2).transpose(1, 2), None


def test_lengths_for_flash_attention_keep_examples_apart() -> None:
    from transformers import AttentionInterface

    AttentionInterface.register("looped", looped)
    flat = batch_of(ROWS, 24)
    inputs = flat.inputs(Form.varlen)
    assert inputs["input_ids"].shape == (1, sum(LENGTHS))
    assert inputs["cu_seq_lens_q"].dtype == torch.int32
    alone = gradients(llama("sdpa"), [batch_of(ALONE)], Form.padded)
    close(gradients(llama("looped"), [flat], Form.varlen), alone)


def test_lengths_are_those_that_transformers_reads_from_positions() -> None:
    from transformers.modeling_flash_attention_utils import prepare_fa_kwargs_from_position_ids

    inputs = batch_of(ROWS).inputs(Form.varlen)
    (starts, _), (longest, _) = prepare_fa_kwargs_from_position_ids(inputs["position_ids"])
    assert inputs["cu_seq_lens_q"].tolist() == starts.tolist()
    assert inputs["max_length_q"] == longest


# ------------------------------------------------------------------ pictures


@pytest.fixture(scope="module")
def llava() -> Callable[[str], Any]:
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    def made(attention: str) -> Any:
        torch.manual_seed(0)
        vision = CLIPVisionConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
        )
        text = LlamaConfig(
            vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=128,
        )  # fmt: skip
        config = LlavaConfig(vision_config=vision, text_config=text, image_token_id=1, attn_implementation=attention)
        return LlavaForConditionalGeneration(config).float().train()

    return made


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_with_pictures_too(llava: Callable[[str], Any], attention: str) -> None:
    """Four image tokens, id 1, in each example; a picture of its own."""
    dice = torch.Generator().manual_seed(0)
    pictures = torch.randn(len(EXAMPLES), 3, 8, 8, generator=dice)
    seen = [example(length + 6, position=i) for i, length in enumerate(LENGTHS)]
    for one in seen:
        one.ids[1:5], one.labels[1:5] = 1, -100
    total = sum(e.label_tokens for e in seen)
    model = llava(attention)

    def batch(rows: list[list[int]]) -> Batch:
        made = batch_of([[seen[i] for i in row] for row in rows])
        made.pixels = {"pixel_values": torch.stack([pictures[i] for row in rows for i in row])}
        return made

    alone = gradients(model, [batch([[i]]) for i in range(len(seen))], Form.padded, total)
    assert any("projector" in name for name in alone[1])
    packed = batch([[3, 0, 2], [1, 4], [5]])
    live = {name: g for name, g in alone[1].items() if g.abs().max() > 1e-7}
    for form in (Form.positions, Form.block):
        loss, found = gradients(model, [packed], form, total)
        close((loss, {name: found[name] for name in live}), (alone[0], live), within=1e-4)
