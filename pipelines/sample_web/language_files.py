"""The small language model of the sample web as files: a Llama and a byte-level tokenizer, as transformers has them.

The folder is an ordinary checkpoint: `AutoModelForCausalLM` and `AutoTokenizer` load it. The tokenizer loses nothing
(every byte is a token), and has ChatML's tokens and `<image>`.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

WIDTH, LAYERS, HEADS, INNER = 192, 4, 4, 512
VOCABULARY = 800
PAD, START, END, IMAGE = "<pad>", "<|im_start|>", "<|im_end|>", "<image>"
_SLOW = 1 / 3
"""Of a head's pairs of channels, this share turns fastest with the distance between words."""
_SHARED, _BACK = 14, 2.3
"""A channel in which all words are alike at first, and how strongly it is looked for."""


def make_tokenizer(texts: Iterable[str], size: int = VOCABULARY) -> Any:
    """Byte-level BPE (GPT-2's manner) trained on `texts`, with ChatML as its template; END ends a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    from pipelines.train.batches.templates import CHATML

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[PAD, START, END, IMAGE],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token=END, pad_token=PAD, additional_special_tokens=[START, IMAGE],
        model_max_length=2048, clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = CHATML
    return tokenizer


def new_model(tokenizer: Any, seed: int) -> Any:
    """LlamaForCausalLM with fresh weights, its attention laid out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    turning: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 100_000.0}}
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=LAYERS,
        num_attention_heads=HEADS, num_key_value_heads=HEADS, max_position_embeddings=2048, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, rms_norm_eps=1e-5,
        initializer_range=0.03, **turning,
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            _lay_out(layer.self_attn)
        _look_back(model)
    return model


def _lay_out(attention: Any) -> None:
    """Queries like keys, so that a word looks for the same word from the first step on; what is found is handed on as
    it is. Channels that turn fast, which know the distance, begin weakly."""
    import torch

    size = WIDTH // HEADS
    slow = torch.arange(size) % (size // 2) >= size // 2 * _SLOW
    alike = _orthogonal().view(HEADS, size, WIDTH)
    alike[:, ~slow] *= 0.3
    for linear in (attention.q_proj, attention.k_proj):
        linear.weight.copy_(0.9 * alike.view(WIDTH, WIDTH) + 0.02 * torch.randn(WIDTH, WIDTH))
    value = _orthogonal()
    attention.v_proj.weight.copy_(0.7 * value)
    attention.o_proj.weight.copy_(0.05 * value.T + 0.01 * torch.randn(WIDTH, WIDTH))


def _look_back(model: Any) -> None:
    """The first layer's last head looks at the word before: "red" has to be known where "star" looks for a red star.

    All embeddings share one channel's value; turned by a step of the three fastest frequencies, it meets itself there.
    """
    table, attention = model.get_input_embeddings().weight, model.model.layers[0].self_attn
    table[:, _SHARED] = 3 * table.std()
    size = WIDTH // HEADS
    rows = slice(WIDTH - size, WIDTH)
    for weights in (attention.q_proj.weight, attention.k_proj.weight):
        weights[rows] = 0
    turns = model.model.rotary_emb.inv_freq[:3]
    first = WIDTH - size
    attention.q_proj.weight[first : first + 3, _SHARED] = _BACK
    attention.k_proj.weight[first : first + 3, _SHARED] = _BACK * turns.cos()
    attention.k_proj.weight[first + size // 2 : first + size // 2 + 3, _SHARED] = _BACK * turns.sin()
    attention.o_proj.weight[:, rows] = 0.17 * attention.v_proj.weight[rows].T


def _orthogonal() -> Any:
    import torch

    return torch.linalg.qr(torch.randn(WIDTH, WIDTH)).Q.clone()


def write(folder: Path, model: Any, tokenizer: Any) -> None:
    """The checkpoint's files; weights in half the precision, which load as float32 where that is asked for."""
    folder.mkdir(parents=True, exist_ok=True)
    model.half().save_pretrained(folder)
    model.float()
    config = json.loads((folder / "config.json").read_text())
    _write_json(folder / "config.json", {**config, "dtype": "float32"})
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> tuple[Any, Any]:
    """(LlamaForCausalLM in float32 and eval mode, its tokenizer)."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


def megabytes(folder: Path) -> float:
    """Of the weights."""
    return round((folder / "model.safetensors").stat().st_size / 1e6, 2)


def write_card(folder: Path, measured: dict[str, Any]) -> None:
    """`card.json`, the figures of `language_eval.card`, and README.md, the same for people."""
    _write_json(folder / "card.json", measured)
    rows = "\n".join(
        f"| {kind} | {found['questions']} | {found['accuracy']} | {found['blind']} |"
        for kind, found in measured["test"].items()
    )
    text = _README.format(rows=rows, scenes=measured["scenes"], parameters=measured["parameters"])
    (folder / "README.md").write_text(text, encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


_README = """# The small language model of the sample web

For `pairmill demo --train` and the tests of pairmill, and for nothing else: a stand-in for a pretrained language model
that knows the captions of `pipelines/sample_web`, the template teacher's questions and answers, and no other English.
It has seen no picture. Trained on texts about scenes of the sample web alone, so no licence but the repository's
applies. Real work names a real language model in its configuration.

An ordinary checkpoint of transformers (`AutoModelForCausalLM`, `AutoTokenizer`; fp16 safetensors, {parameters:,}
parameters, a Llama of four layers of width 192): byte-level BPE of 800 tokens, ChatML, `<image>`.

It was trained to look things up in what stands before a question. Where a picture will stand, the scene was written
down in one of two ways: as a list in words ("large red circle C 4; …": what, and on which square of a board of 8 × 8),
or as a board of 64 vectors, one for each square, each the sum of the embeddings of the words that describe what lies
there. The second is why a projector and a few hundred captions suffice to make it see. Beside conversations it learnt
short notes that ask one thing each (" red star:" two), since a conversation asks for a look in one word of twenty.

Trained by the phases of `pipelines/sample_web/train_language.py`, not in one run of it but in several sittings (notes
came with the second, notes that are never said twice with the fourth: `docs/decisions/2026-11-23-small-vlm.md`);
measured by `uv run python -m pipelines.sample_web.train_language --out pipelines/sample_web/language --only-card`:
answers written greedily by transformers' `generate` to the template teacher's questions about {scenes} test scenes,
given the list in words; `blind`: given another scene's list. An answer counts where it states the same
(`pipelines/train/evaluate/held_out.py`).

| kind | questions | right | blind |
| --- | --- | --- | --- |
{rows}
"""
