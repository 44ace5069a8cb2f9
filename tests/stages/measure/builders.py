"""Small inputs for the measures: encoded pictures, batches of pairs, and a tiny CLIP with random weights."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from schemas.row import Row
from schemas.sample import Pair

PHOTOS = Path(__file__).parents[3].parent / "shared/data/photos"


def picture(width: int = 48, height: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colours (so that JPEG keeps them), no symmetry; uint8 H×W×3."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: "Image.Image | np.ndarray", fmt: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(out, fmt, **options)
    return out.getvalue()


def pixels(
    images: list[bytes], captions: list[str | None] | None = None, orientations: list[int | None] | None = None
) -> pa.Table:
    """A batch of Pair; sample_id is the row's number."""
    n = len(images)
    columns = {
        "sample_id": [f"{i:032x}" for i in range(n)],
        "caption": captions or [f"picture number {i}" for i in range(n)],
        "image": images,
        "orientation": orientations or [1] * n,
    }
    return table_of(Pair, columns, n)


def table_of(row: type[Row], columns: dict[str, list[Any]], n: int) -> pa.Table:
    """A table of `row`; columns that are not given are null."""
    return pa.table({f.name: pa.array(columns.get(f.name, [None] * n), f.type) for f in row.arrow_schema()}).cast(
        row.arrow_schema()
    )


def tiny_clip(folder: Path, seed: int = 0) -> str:
    """An open_clip folder with random weights (ViT, 32 px, 16 dimensions); returns its `local-dir:` name."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    model_cfg = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
    }
    preprocess = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic"}
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": model_cfg, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{folder}")
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"
