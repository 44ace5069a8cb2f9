"""Tiny towers, a tiny language model and its tokenizer, saved as transformers saves them; random weights."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

SIDE, PATCH = 28, 7
WIDTH, TEXT_WIDTH = 16, 24
SENTENCE = "what is in the picture ? a red green blue ball cube left of right two three yes no user assistant :"
WORDS = SENTENCE.split()
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def tower(folder: Path, kind: str, seed: int = 0, **more: Any) -> str:
    """A tiny vision model with its image processor: clip, siglip, dinov2 or registers (DINOv2 with them)."""
    import transformers as t

    torch.manual_seed(seed)
    common: dict[str, Any] = {
        "hidden_size": WIDTH, "num_hidden_layers": 3, "num_attention_heads": 2, "image_size": SIDE, "patch_size": PATCH,
    }  # fmt: skip
    common |= more
    square = {"height": common["image_size"], "width": common["image_size"]}
    if kind == "clip":
        t.CLIPVisionModel(t.CLIPVisionConfig(intermediate_size=32, **common)).save_pretrained(folder)
        t.CLIPImageProcessor(size={"shortest_edge": square["height"]}, crop_size=square).save_pretrained(folder)
    elif kind == "siglip":
        t.SiglipVisionModel(t.SiglipVisionConfig(intermediate_size=32, **common)).save_pretrained(folder)
        t.SiglipImageProcessor(size=square).save_pretrained(folder)
    else:
        made = (
            t.Dinov2Model(t.Dinov2Config(**common))
            if kind == "dinov2"
            else t.Dinov2WithRegistersModel(t.Dinov2WithRegistersConfig(num_register_tokens=4, **common))
        )
        made.save_pretrained(folder)
        t.BitImageProcessor(size={"shortest_edge": 32}, crop_size=square).save_pretrained(folder)
    return str(folder)


def language(folder: Path, *, tied: bool = False, pad: bool = True, seed: int = 1) -> str:
    """A Llama of two layers with a word tokenizer that knows ChatML."""
    import transformers as t

    tokenizer = word_tokenizer(pad=pad)
    torch.manual_seed(seed)
    config = t.LlamaConfig(
        hidden_size=TEXT_WIDTH,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        vocab_size=len(tokenizer),
        max_position_embeddings=512,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    t.LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def word_tokenizer(*, pad: bool = True) -> Any:
    """One token a word."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<unk>", "<|im_start|>", "<|im_end|>", *(["<pad>"] if pad else [])]
    words = Tokenizer(models.WordLevel({w: i for i, w in enumerate([*special, *WORDS])}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        unk_token="<unk>",
        eos_token="<|im_end|>",
        pad_token="<pad>" if pad else None,
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )


def picture(height: int = 40, width: int = 30, seed: int = 0) -> np.ndarray:
    """uint8 RGB noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
