"""How well a small SAM cuts out the objects of held-out scenes: from a point, from a box, and without being asked.

Pictures are the scenes at their own size, masks are compared at that size, and the model is asked through transformers
as anybody would, everything mode through `stages.masks`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.sample_web import sam_files
from pipelines.sample_web.clip_eval import TEST_SEED, VALIDATION_SEED
from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import Scene, make_scene

FOUND = 0.5
"""IoU from which a mask counts as an object's."""
Figures = dict[str, Any]


def iou(masks: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """IoU of each mask, bool (m, height, width), with each of truth (t, height, width): float64 (m, t)."""
    flat, true = masks.reshape(len(masks), -1).astype(np.float32), truth.reshape(len(truth), -1).astype(np.float32)
    both = flat @ true.T
    return (both / np.maximum(1, flat.sum(1)[:, None] + true.sum(1)[None] - both)).astype(np.float64)


def held_out(start: int, count: int) -> Iterator[tuple[Scene, np.ndarray, np.ndarray]]:
    """Scenes from seed `start`, each with its picture and its objects' masks, bool (objects, height, width)."""
    for seed in range(start, start + count):
        scene = make_scene(seed)
        yield scene, render(scene), scene.masks()


def prompted(folder: Path, start: int, count: int) -> dict[str, np.ndarray]:
    """IoU of every object of `count` scenes, asked for with one point of it, and with its box.

    `point` and `box`: the mask with the highest predicted IoU; `point_best` and `box_best`: the best of the three.
    `box_single`: the one mask of `multimask_output=False`. `error`: of the predicted IoU of each mask, absolute.
    """
    model, processor = sam_files.load(folder)
    facts: dict[str, list[np.ndarray]] = {}
    for scene, rgb, truth in held_out(start, count):
        asked = {"point": [[p] for p in points_on(scene.seed, truth)], "box": [_corners(b) for b in scene.boxes()]}
        for kind, prompts in asked.items():
            masks, predicted = ask(model, processor, rgb, kind, prompts)
            true = np.stack([iou(m, t[None])[:, 0] for m, t in zip(masks, truth, strict=True)])
            facts.setdefault(kind, []).append(true[np.arange(len(true)), predicted.argmax(1)])
            facts.setdefault(f"{kind}_best", []).append(true.max(1))
            facts.setdefault("error", []).append(np.abs(true - predicted).ravel())
        (single, _) = ask(model, processor, rgb, "box", asked["box"], multimask=False)
        one = [iou(m, t[None])[0] for m, t in zip(single, truth, strict=True)]
        facts.setdefault("box_single", []).append(np.concatenate(one))
    return {name: np.concatenate(values) for name, values in facts.items()}


def points_on(seed: int, truth: np.ndarray) -> list[list[float]]:
    """For each mask the centre (x, y) of one of its pixels, any as likely as any other."""
    rng = np.random.default_rng([seed, 1])
    chosen = [rng.choice(np.flatnonzero(mask)) for mask in truth]
    return [[float(p % truth.shape[2]) + 0.5, float(p // truth.shape[2]) + 0.5] for p in chosen]


def ask(
    model: Any, processor: Any, rgb: np.ndarray, kind: str, prompts: list[Any], multimask: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of one picture's prompts, bool (prompts, masks, height, width), and predicted IoU (prompts, masks)."""
    import torch

    given = {f"input_{kind}{'s' if kind == 'point' else 'es'}": [prompts]}
    inputs = processor(images=rgb, return_tensors="pt", **given)
    sizes = inputs.pop("original_sizes"), inputs.pop("reshaped_input_sizes")
    with torch.inference_mode():
        said = model(**{k: v.float() if v.is_floating_point() else v for k, v in inputs.items()},
                     multimask_output=multimask)  # fmt: skip
    (masks,) = processor.post_process_masks(said.pred_masks, *sizes)
    return masks.numpy(), said.iou_scores[0].numpy()


def _corners(box: tuple[int, ...]) -> list[float]:
    x, y, w, h = box
    return [float(x), float(y), float(x + w), float(y + h)]


def everything(folder: Path, start: int, count: int) -> Figures:
    """Of everything mode with `sam_files.EVERYTHING`: share of objects found, their mean IoU, share of masks that are
    an object's."""
    from stages.masks.everything import segment
    from stages.masks.models import load

    sam = load(str(folder), "cpu", "fp32")
    best: list[np.ndarray] = []
    good: list[np.ndarray] = []
    for _, rgb, truth in held_out(start, count):
        (found,) = segment(sam, [rgb], sam_files.EVERYTHING)
        masks = np.stack([f.on(*rgb.shape[:2]) for f in found]) if found else np.zeros((0, *rgb.shape[:2]), bool)
        table = iou(masks, truth)
        best.append(table.max(0, initial=0))
        good.append(table.max(1) >= FOUND)
    each, real = np.concatenate(best), np.concatenate(good)
    return {
        "objects": len(each), "found": _rounded((each >= FOUND).mean()), "mean_iou": _rounded(each.mean()),
        "masks": len(real), "masks_of_objects": _rounded(real.mean()),
    }  # fmt: skip


def grabcut_boxes(start: int, count: int) -> np.ndarray:
    """IoU of every object of `count` scenes, cut by GrabCut from its box."""
    from stages.masks.grabcut import grabcut

    found = [
        np.diagonal(iou(np.stack(grabcut(rgb, scene.boxes())), truth)) for scene, rgb, truth in held_out(start, count)
    ]
    return np.concatenate(found)


def card(folder: Path, scenes: int) -> Figures:
    """The figures on `scenes` validation and as many test scenes; everything mode on every fourth as many."""
    few = scenes // 4
    sets = {"validation": VALIDATION_SEED, "test": TEST_SEED}
    return {
        "scenes": scenes, "scenes_everything": few, "weights_mb": _rounded(sam_files.megabytes(folder)),
        "everything_config": sam_files.EVERYTHING.model_dump(exclude_defaults=True),
        **{
            name: {
                "prompts": _means(prompted(folder, start, scenes)),
                "everything": everything(folder, start, few),
                "grabcut_box": _rounded(grabcut_boxes(start, few).mean()),
            }
            for name, start in sets.items()
        },
    }  # fmt: skip


def _means(facts: dict[str, np.ndarray]) -> Figures:
    return {"objects": len(facts["point"]), **{name: _rounded(values.mean()) for name, values in facts.items()}}


def _rounded(value: float) -> float:
    return round(float(value), 4)
