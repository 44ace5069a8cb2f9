"""The small CLIP as files: open_clip configuration, word-level tokenizer, weights.

The folder is an ordinary open_clip checkpoint: `open_clip.create_model_and_transforms("local-dir:FOLDER")` and
`open_clip.get_tokenizer("local-dir:FOLDER")` load it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from typing import Any

from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import make_claims
from pipelines.sample_web.scenes import make_scene

IMAGE_SIZE = 128
EMBEDDING = 256
CONTEXT = 40
VOCABULARY_SCENES = range(9_000_000, 9_012_000)
MIN_WORD_COUNT = 8  # rarer than this are the made-up numbers of alt texts
PAD, UNKNOWN, START, END = "[PAD]", "[UNK]", "[START]", "[END]"


def model_config(vocabulary: int) -> dict[str, Any]:
    """open_clip's `model_cfg`: a small CSP DarkNet that adds up and then bends (mean pool, two-layer head), and a
    two-layer text transformer. A head that is linear after the pool cannot tell two from three."""
    return {
        "embed_dim": EMBEDDING,
        "vision_cfg": {
            "image_size": IMAGE_SIZE, "timm_model_name": "cs3darknet_focus_s", "timm_model_pretrained": False,
            "timm_pool": "avg", "timm_proj": "mlp",
        },
        "text_cfg": {
            "context_length": CONTEXT, "vocab_size": vocabulary, "width": EMBEDDING, "heads": 4, "layers": 2,
            "hf_tokenizer_name": ".",
        },
    }  # fmt: skip


def preprocess_config() -> dict[str, Any]:
    """Squashed, not cropped: a caption speaks of the whole picture."""
    return {
        "size": IMAGE_SIZE, "mode": "RGB", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
        "interpolation": "bicubic", "resize_mode": "squash",
    }  # fmt: skip


def vocabulary() -> list[str]:
    """Every word of the caption grammar, by sampling it; special tokens first, the end token last.

    The end token has the highest id because open_clip pools the text at the largest token id.
    """
    counts: dict[str, int] = {}
    for seed in VOCABULARY_SCENES:
        rng = Random(f"vocabulary:{seed}")
        claims = make_claims(make_scene(seed), rng, coloured=rng.random() > 0.1)
        for word in re.findall(r"\w+|[^\w\s]+", sentence(claims, seed).lower()):
            counts[word] = counts.get(word, 0) + 1
    words = sorted(word for word, count in counts.items() if count >= MIN_WORD_COUNT)
    return [PAD, UNKNOWN, START, *words, END]


def write_tokenizer(folder: Path, words: list[str]) -> None:
    """A lower-casing word-level tokenizer in Hugging Face files; unknown words become one token."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    ids = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}", special_tokens=[(START, ids[START]), (END, ids[END])]
    )
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": CONTEXT, "pad_token": PAD,
        "unk_token": UNKNOWN, "bos_token": START, "eos_token": END, "clean_up_tokenization_spaces": False,
    }  # fmt: skip
    _write_json(folder / "tokenizer_config.json", settings)


def write_config(folder: Path, words: list[str]) -> None:
    _write_json(
        folder / "open_clip_config.json",
        {"model_cfg": model_config(len(words)), "preprocess_cfg": preprocess_config()},
    )


def write_weights(folder: Path, state: dict[str, Any]) -> None:
    """fp16 safetensors; open_clip casts to the precision it is asked for."""
    import torch
    from safetensors.torch import save_file

    halves = {k: v.half().contiguous() if v.dtype == torch.float32 else v.contiguous() for k, v in state.items()}
    save_file(halves, str(folder / "open_clip_model.safetensors"))


def write_card(folder: Path, measured: dict[str, Any]) -> None:
    """`card.json`, the figures of `clip_eval.card`, and README.md, the same for people."""
    _write_json(folder / "card.json", measured)
    rows = [
        f"| {name} | {f['pairs']} | {f['auc']:.4f} | {f['recall']:.3f} "
        f"| {f['precision']:.3f} | {f['wrong_share']:.0%} |"
        for name, f in measured["test"].items()
    ]
    text = _README.format(rows="\n".join(rows), scenes=measured["scenes"], **measured["thresholds"])
    (folder / "README.md").write_text(text, encoding="utf-8")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


_README = """# The small CLIP of the sample web

For the demo and the tests of pairmill, and for nothing else: it knows ten shapes, ten colours, counts up to six and the
caption grammar of `pipelines/sample_web`, and no photograph. Trained on scenes of the sample web alone, so no licence
but the repository's applies. Real work names real weights in its recipe.

An ordinary open_clip checkpoint (configuration, word-level Hugging Face tokenizer, fp16 safetensors):
`open_clip.create_model_and_transforms("local-dir:pipelines/sample_web/clip")`. Pictures are squashed to 128 × 128.

Trained by the phases of `pipelines/sample_web/train_clip.py`, not in one run of it but in several sittings
(`docs/decisions/2026-11-22-small-clip-codes.md`); measured by
`uv run python -m pipelines.sample_web.train_clip --out pipelines/sample_web/clip --only-card`. Scenes for training, for
the thresholds and for the figures below are disjoint, and disjoint from every demo pool.

Thresholds, fixed on {scenes} validation scenes: cosine below {swapped} for captions of another picture, below {hard}
for captions with one thing wrong. On {scenes} test scenes, as files of the demo's kinds (re-encoded, halved, cropped,
brighter, darker, grey, CMYK, alpha, GIF, WebP, EXIF-rotated among them):

| caption | pairs | AUC | recall | precision | share of wrong captions assumed for the precision |
| --- | --- | --- | --- | --- | --- |
{rows}

The last five lines use the threshold for hard captions; "colour", "object" and "count" have that one thing wrong, in
"exchange" two objects have traded their colours.
"""
