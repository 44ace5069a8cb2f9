"""`python -m bench masks [--model tiny|vit-b|vit-h] [--pictures N]`: masks per picture against transformers' own use.

Same weights, same pictures, same grid and thresholds, one process, by turns.

everything: our batched mode against transformers' mask-generation pipeline, which takes one picture at a time.
boxes: all boxes of all pictures at once against a call of the model for each picture (all its boxes), and against a
call for each box, as scripts that prompt SAM from a detector do; the encoder runs once for each call.

tiny: the sample web's own SAM, on scenes that it has not seen. vit-b, vit-h: SAM's sizes with random weights, which
are enough for time; the threshold on predicted IoU is then set so that one mask in ten survives it, for both.
`pictures encoded`: through the image encoder. `memory`: peak of the process (CPU) or of torch's allocator (GPU) above
what was held before, in MiB.
"""

import argparse
import copy
import gc
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import report
from schemas.masks_config import EverythingConfig
from stages.masks.everything import Encoder, segment
from stages.masks.prompted import prompted
from stages.masks.sam import Sam

SMALL = Path(__file__).parent.parent / "pipelines" / "sample_web" / "sam"
FIRST = 31_000_000
"""Seed of the first scene: far from those that the small SAM was trained on."""
SIZES = {"vit-b": (768, 12, 12, [2, 5, 8, 11]), "vit-h": (1280, 32, 16, [7, 15, 23, 31])}
"""Width, layers, heads, layers with global attention (segment_anything/build_sam.py)."""


@dataclass
class Bench:
    """A model with its pictures, and how often its encoder ran."""

    model: Any
    processor: Any
    pictures: list[np.ndarray]
    boxes: list[list[tuple[float, float, float, float]]]
    config: EverythingConfig
    batch: int
    device: str
    encoded: int = 0
    _hooks: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sam = Sam(copy.deepcopy(self.model), self.processor)  # it makes the model its own
        for model in (self.model, self.sam.model):
            self._hooks.append(model.vision_encoder.register_forward_pre_hook(self._count, with_kwargs=True))

    def _count(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.encoded += len(args[0] if args else kwargs["pixel_values"])

    # -------------------------------------------------------------- everything

    def ours(self) -> int:
        sam = self.sam
        return sum(len(found) for found in segment(sam, self.pictures, self.config, Encoder(sam.embed, self.batch)))

    def pipeline(self) -> int:
        from PIL import Image
        from transformers import MaskGenerationPipeline

        made = MaskGenerationPipeline(
            model=self.model, image_processor=self.processor.image_processor, device=self.device
        )
        asked: dict[str, Any] = {
            "points_per_batch": self.config.prompts_per_pass,
            "points_per_crop": self.config.points_per_side,
            "pred_iou_thresh": self.config.predicted_iou,
            "stability_score_thresh": self.config.stability,
            "crops_n_layers": 0,
        }
        return sum(len(made(Image.fromarray(rgb), **asked)["masks"]) for rgb in self.pictures)

    # -------------------------------------------------------------- boxes

    def ours_boxes(self) -> int:
        sam, found = self.sam, 0
        for start in range(0, len(self.pictures), self.batch):
            embedded = sam.embed(self.pictures[start : start + self.batch])
            boxes = self.boxes[start : start + self.batch]
            found += sum(len(masks) for masks in prompted(sam, embedded, "box", boxes, self.config))
        return found

    def a_call_for_each_picture(self) -> int:
        return sum(self._call(rgb, boxes) for rgb, boxes in zip(self.pictures, self.boxes, strict=True))

    def a_call_for_each_box(self) -> int:
        both = zip(self.pictures, self.boxes, strict=True)
        return sum(self._call(rgb, [box]) for rgb, boxes in both for box in boxes)

    def _call(self, rgb: np.ndarray, boxes: Sequence[tuple[float, float, float, float]]) -> int:
        import torch

        corners = [[[x, y, x + w, y + h] for x, y, w, h in boxes]]
        given = self.processor(images=rgb, input_boxes=corners, return_tensors="pt").to(self.device)
        given = {name: value.float() if value.dtype == torch.float64 else value for name, value in given.items()}
        sizes = (given.pop("original_sizes").cpu(), given.pop("reshaped_input_sizes").cpu())
        given["pixel_values"] = given["pixel_values"].to(self.model.dtype)
        with torch.inference_mode():
            said = self.model(**given)
        masks = self.processor.image_processor.post_process_masks(said.pred_masks.float().cpu(), *sizes)
        return int(masks[0].flatten(0, 1).flatten(1).any(1).sum())


def run(args: list[str]) -> None:
    """Measure, print, write bench/results/masks[-MODEL].md and .json."""
    asked = _arguments(args)
    import torch

    torch.set_num_threads(asked.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bench = _bench(asked, device)
    ways: dict[str, dict[str, Callable[[], int]]] = {
        "everything": {"ours": bench.ours, "mask-generation pipeline": bench.pipeline},
        "boxes": {
            "ours": bench.ours_boxes,
            "a call for each picture": bench.a_call_for_each_picture,
            "a call for each box": bench.a_call_for_each_box,
        },
    }
    rows = [row for mode, each in ways.items() for row in _measured(bench, mode, each, asked.repeat)]
    facts = {
        "device": device,
        "weights": asked.model,
        "pictures": len(bench.pictures),
        "grid": bench.config.points_per_side,
    }
    facts |= {"pictures per pass": bench.batch, "boxes": sum(map(len, bench.boxes)), "repetitions": asked.repeat}
    report("masks" if asked.model == "tiny" and device == "cpu" else f"masks-{asked.model}-{device}", rows, facts)


def _measured(bench: Bench, mode: str, ways: dict[str, Callable[[], int]], repeat: int) -> list[dict[str, Any]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    rows: dict[str, dict[str, Any]] = {}
    for turn in range(repeat):
        for name, work in ways.items():
            bench.encoded = 0
            began, before = time.perf_counter(), _memory(bench.device, reset=True)
            masks = work()
            seconds[name].append(time.perf_counter() - began)
            more = _memory(bench.device) - before
            if turn == 0:  # a process's peak only ever grows: the first turn says what a way adds to it
                rows[name] = {
                    "mode": mode,
                    "how": name,
                    "masks": masks,
                    "pictures encoded": bench.encoded,
                    "memory": more,
                }
    slowest = {name: statistics.median(found) for name, found in seconds.items()}
    ours = slowest["ours"]
    for name, row in rows.items():
        row["pictures/s"] = round(len(bench.pictures) / slowest[name], 3)
        row["ours is"] = f"{slowest[name] / ours:.2f}×"
    return list(rows.values())


def _memory(device: str, reset: bool = False) -> int:
    """MiB: what is held now (`reset`), or the peak since."""
    import torch

    gc.collect()
    if device != "cuda":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    torch.cuda.synchronize()
    if reset:
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() // 2**20
    return torch.cuda.max_memory_allocated() // 2**20


def _arguments(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m bench masks", description=__doc__)
    parser.add_argument("--model", choices=("tiny", *SIZES), default="tiny")
    parser.add_argument("--pictures", type=int, default=24)
    parser.add_argument("--points", type=int, default=16, help="grid points per side")
    parser.add_argument("--batch", type=int, default=8, help="pictures in one pass of the encoder")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(args)


def _bench(asked: Any, device: str) -> Bench:
    from transformers import SamImageProcessor, SamModel, SamProcessor

    from pipelines.sample_web.render import render
    from pipelines.sample_web.sam_files import EVERYTHING
    from pipelines.sample_web.scenes import make_scene

    scenes = [make_scene(FIRST + i) for i in range(asked.pictures)]
    boxes = [[(float(b.x), float(b.y), float(b.w), float(b.h)) for b in scene.boxes()] for scene in scenes]
    if asked.model == "tiny":
        model: Any = SamModel.from_pretrained(SMALL)
        processor = SamProcessor.from_pretrained(SMALL)
        pictures = [render(scene) for scene in scenes]
        # what transformers' pipeline has not is off
        as_theirs = {"points_per_side": asked.points, "smallest_region": 0, "largest": None}
        config = EVERYTHING.model_copy(update=as_theirs)
        return Bench(model.to(device).eval(), processor, pictures, boxes, config, asked.batch, device)
    model = _random(asked.model, device)
    pictures = [render(scene, (1024, 768)) for scene in scenes]
    boxes = [
        [(x * 1024 / s.width, y * 768 / s.height, w * 1024 / s.width, h * 768 / s.height) for x, y, w, h in mine]
        for s, mine in zip(scenes, boxes, strict=True)
    ]
    processor = SamProcessor(SamImageProcessor())
    config = EverythingConfig(
        points_per_side=asked.points, stability=0.0, largest=None, smallest_region=0, predicted_iou=0.0
    )
    threshold = _one_in_ten(Sam(copy.deepcopy(model), processor), pictures[0], asked.points)
    config = config.model_copy(update={"predicted_iou": threshold})
    return Bench(model, processor, pictures, boxes, config, asked.batch, device)


def _random(name: str, device: str) -> Any:
    import torch
    from transformers import SamConfig, SamModel, SamVisionConfig

    width, layers, heads, spread = SIZES[name]
    vision = SamVisionConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        global_attn_indexes=spread,
        mlp_dim=4 * width,
    )
    torch.manual_seed(0)
    model: Any = SamModel(SamConfig(vision_config=vision)).eval()
    with torch.no_grad():
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0, 0.02)  # transformers starts the encoder at 1e-10
    return model.to(device, torch.bfloat16 if device == "cuda" else torch.float32)


def _one_in_ten(sam: Sam, rgb: np.ndarray, points: int) -> float:
    import torch

    from stages.masks.everything import grid

    height, width = rgb.shape[:2]
    asked = torch.from_numpy(grid(points)[None] * np.array([width, height])).to(sam.model.device)
    embedded = sam.embed([rgb])
    iou = torch.cat([sam.ask(embedded, "point", some)[1].flatten() for some in asked.split(64, dim=1)])
    return float(iou.float().quantile(0.9).clamp(0, 1))
