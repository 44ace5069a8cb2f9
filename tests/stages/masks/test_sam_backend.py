"""SamBackend: every family gives what plain transformers gives, however prompts and pictures are batched."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.sample_web.render import render
from pipelines.sample_web.scenes import make_scene
from schemas.mask import Prompt
from schemas.masks_config import EverythingConfig
from stages.masks.backend import Prompts
from stages.masks.passes import passes
from stages.masks.prompted import prompted
from stages.masks.sam import Sam
from stages.masks.sam_backend import SamBackend
from tests.stages.masks.tiny_sam import (
    SIDE,
    backend,
    same,
    saved,
    tiny_hq,
    tiny_processor,
    tiny_sam,
    tiny_sam2,
    tiny_sam2_processor,
    tiny_sam3_processor,
    tiny_sam3_tracker,
)

BOXES = ((3.0, 5.0, 40.0, 30.0), (20.5, 10.25, 12.0, 33.5), (0.0, 0.0, 500.0, 500.0))
POINTS = ((10.0, 12.0), (33.5, 20.25), (48.0, 44.0))


@dataclass(frozen=True)
class Family:
    folder: Path
    classes: tuple[str, str]


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import SamProcessor

    return saved(tmp_path_factory.mktemp("sam"), tiny_sam(1), SamProcessor(tiny_processor()))


@pytest.fixture(scope="module", params=["sam", "sam_hq", "sam2", "sam3_tracker"])
def family(
    request: pytest.FixtureRequest, sam_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Family]:
    from transformers import Sam2Processor, SamHQProcessor

    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "sam":
        yield Family(sam_folder, ("SamModel", "SamProcessor"))
    elif request.param == "sam_hq":
        yield Family(saved(folder, tiny_hq(2), SamHQProcessor(tiny_processor())), ("SamHQModel", "SamHQProcessor"))
    elif request.param == "sam3_tracker":
        made = saved(folder, tiny_sam3_tracker(3), tiny_sam3_processor(words=False))
        yield Family(made, ("Sam3TrackerModel", "Sam3TrackerProcessor"))
    else:
        yield Family(saved(folder, tiny_sam2(1), Sam2Processor(tiny_sam2_processor())), ("Sam2Model", "Sam2Processor"))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """Wide, high, square, larger than the model; all hold BOXES and POINTS."""
    return [render(make_scene(s), size) for s, size in enumerate([(100, 60), (64, 96), (50, 50), (150, 110)])]


def transformers_says(family: Family, rgb: np.ndarray, **prompts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Masks (3, height, width) and predicted IoU (3,) of one picture and one prompt, as its documentation says."""
    import torch
    import transformers
    from PIL import Image

    model_name, processor_name = family.classes
    model = getattr(transformers, model_name).from_pretrained(family.folder).eval()
    processor = getattr(transformers, processor_name).from_pretrained(family.folder)
    inputs = processor(images=Image.fromarray(rgb), return_tensors="pt", **prompts)
    with torch.inference_mode():
        said = model(**inputs)
    sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
    (masks,) = processor.post_process_masks(said.pred_masks, *sizes)
    return masks[0].numpy(), said.iou_scores[0, 0].numpy()


@pytest.mark.parametrize("kind", [Prompt.box, Prompt.point])
def test_one_picture_and_one_prompt_give_what_transformers_gives(
    kind: Prompt, family: Family, pictures: list[np.ndarray]
) -> None:
    finder = backend(family.folder, kind)
    finder.open()
    for rgb in (pictures[0], pictures[3]):
        if kind is Prompt.box:
            x, y, w, h = BOXES[1]
            theirs, iou = transformers_says(family, rgb, input_boxes=[[[x, y, x + w, y + h]]])
            (ours,) = finder.find([rgb], [Prompts(boxes=(BOXES[1],))])
        else:
            theirs, iou = transformers_says(family, rgb, input_points=[[[list(POINTS[1])]]])
            (ours,) = finder.find([rgb], [Prompts(points=(POINTS[1],))])
        filled = theirs.any((1, 2))
        assert filled.sum() == len(ours) >= 2
        assert [f.predicted_iou for f in ours] == pytest.approx(iou[filled].tolist(), rel=1e-5)
        for mine, other in zip(ours, theirs[filled], strict=True):
            assert np.array_equal(mine.on(*rgb.shape[:2]), other)
        assert [f.best for f in ours] == [v == iou[filled].max() for v in iou[filled]]
    finder.close()


@pytest.mark.parametrize("kind", [Prompt.box, Prompt.point])
def test_a_ragged_batch_gives_what_each_prompt_gives_alone(
    kind: Prompt, family: Family, pictures: list[np.ndarray]
) -> None:
    asked = [BOXES, BOXES[:1], (), BOXES[1:]] if kind is Prompt.box else [POINTS[:1], POINTS, POINTS[2:], ()]
    wrap: Callable[[Any], Prompts] = (
        (lambda p: Prompts(boxes=p)) if kind is Prompt.box else (lambda p: Prompts(points=p))
    )
    finder = backend(family.folder, kind, prompts_per_pass=2)
    finder.open()
    batched = finder.find(pictures, [wrap(p) for p in asked])
    assert finder.encoded_pictures == 3  # One picture has no prompt, and each other one is embedded once.
    for rgb, prompts, found in zip(pictures, asked, batched, strict=True):
        alone = [
            replace(one, prompt_index=index)
            for index, prompt in enumerate(prompts)
            for one in finder.find([rgb], [wrap((prompt,))])[0]
        ]
        assert same(found, alone)
        assert {f.prompt_index for f in found} == set(range(len(prompts)))
    finder.close()


def test_everything_mode_works_for_each_family(family: Family, pictures: list[np.ndarray]) -> None:
    """The pipeline of transformers as reference, on a square picture: it asks SAM 2 elsewhere on others."""
    from PIL import Image
    from transformers import pipeline

    from stages.masks.models import load

    loose = {"points_per_side": 5, "predicted_iou": 0.0, "stability": 0.3, "nms": 1.0, "threshold": 0.2}
    finder = backend(family.folder, Prompt.everything, **loose, stability_offset=0.01, smallest_region=0, largest=None)
    finder.open()
    (found,) = finder.find([pictures[2]], [Prompts()])
    model = load(str(family.folder), "cpu", "fp32")
    generate = pipeline("mask-generation", model=model.model, image_processor=model.processor, device="cpu")
    theirs = generate(
        Image.fromarray(pictures[2]), points_per_crop=5, pred_iou_thresh=0.0, stability_score_thresh=0.3,
        stability_score_offset=0.01, crops_nms_thresh=1.0, mask_threshold=0.2,
    )  # fmt: skip
    assert len(found) == len(theirs["masks"]) >= 3
    for mine, other in zip(found, theirs["masks"], strict=True):
        assert np.array_equal(mine.on(50, 50), np.asarray(other))
    finder.close()


def test_everything_mode_asks_sam2_where_its_processor_would(pictures: list[np.ndarray], family: Family) -> None:
    """Transformers' pipeline scales points by the longer side, though SAM 2's pictures are stretched to a square."""
    if family.classes[0] != "Sam2Model":
        pytest.skip("SAM and SAM-HQ keep the aspect")
    import torch
    from transformers import Sam2Processor

    from stages.masks.models import load

    rgb = pictures[0]
    sam = load(str(family.folder), "cpu", "fp32")
    theirs = Sam2Processor.from_pretrained(family.folder)(
        images=rgb, input_points=[[[[90.0, 50.0]]]], return_tensors="pt"
    )
    seen: list[Any] = []
    hook = sam.model.prompt_encoder.register_forward_pre_hook(
        lambda _m, _a, given: seen.append(given["input_points"]), with_kwargs=True
    )
    sam.ask(sam.embed([rgb]), "point", torch.tensor([[[90.0, 50.0]]]))
    hook.remove()
    assert torch.equal(seen[0], theirs["input_points"])
    assert seen[0][0, 0, 0].tolist() == pytest.approx([90 / 100 * SIDE, 50 / 60 * SIDE])


def test_if_the_best_mask_is_empty_the_next_one_is_best(pictures: list[np.ndarray]) -> None:
    import torch

    sam = Sam(tiny_sam(1), tiny_processor())
    embedded = sam.embed(pictures[:1])
    moved = 0
    for number in range(12):
        point = (8.0 * number + 2, 30.0)
        logits, iou = sam.ask(embedded, "point", torch.tensor([[point]], dtype=torch.float64))
        tops = sam.upscaled(logits[0, 0], (60, 100)).amax((1, 2))
        limit = float(tops[iou[0, 0].argmax()])
        if limit >= tops.max():
            continue
        (found,) = prompted(sam, embedded, "point", [[point]], EverythingConfig(threshold=limit))
        left = [value for value, top in zip(iou[0, 0].tolist(), tops.tolist(), strict=True) if top > limit]
        assert [f.predicted_iou for f in found] == pytest.approx(left, rel=1e-5)
        assert [f.predicted_iou for f in found if f.best] == pytest.approx([max(left)], rel=1e-5)
        moved += 1
    assert moved >= 2


def test_prompts_outside_of_the_picture_give_none(sam_folder: Path, pictures: list[np.ndarray]) -> None:
    finder = backend(sam_folder)
    finder.open()
    outside = ((-30.0, 5.0, 20.0, 20.0), (100.0, 5.0, 20.0, 20.0), (5.0, 5.0, 0.0, 9.0), (5.0, 5.0, -3.0, 9.0))
    (found,) = finder.find([pictures[0]], [Prompts(boxes=(*outside, BOXES[2]))])
    assert {f.prompt_index for f in found} == {4}
    (cut,) = finder.find([pictures[0]], [Prompts(boxes=((0.0, 0.0, 100.0, 60.0),))])
    assert [f.predicted_iou for f in found] == [f.predicted_iou for f in cut]
    with pytest.raises(ValueError, match="four finite numbers"):
        finder.find([pictures[0]], [Prompts(boxes=((1.0, 2.0, float("nan"), 4.0),))])
    finder.close()
    points = backend(sam_folder, Prompt.point)
    points.open()
    (found,) = points.find([pictures[0]], [Prompts(points=((-1.0, 5.0), (101.0, 5.0), (50.0, 60.5), (50.0, 59.0)))])
    assert {f.prompt_index for f in found} == {3}
    points.close()


@pytest.mark.parametrize("kind", [Prompt.box, Prompt.point, Prompt.everything])
@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3), (3, 3), (1, 4 * SIDE), (4 * SIDE, 1), (700, 900)])
def test_pictures_of_any_shape(shape: tuple[int, int], kind: Prompt, family: Family) -> None:
    rgb = np.random.default_rng(1).integers(0, 255, (*shape, 3), np.uint8)
    finder = opened(family.folder, kind)
    whole = (0.0, 0.0, float(shape[1]), float(shape[0]))
    (found,) = finder.find([rgb], [Prompts(boxes=(whole,), points=((shape[1] / 2, shape[0] / 2),))])
    thin = max(shape) >= 4 * SIDE and min(shape) == 1
    if thin and family.classes[0] in ("SamModel", "SamHQModel"):
        assert found == []
    elif kind is not Prompt.everything:
        # Every logit is above the threshold: each mask is all of the picture.
        assert [f.box for f in found] == [(0, 0, shape[1], shape[0])] * 3
        assert sum(f.best for f in found) == 1
    for one in found:
        x, y, w, h = one.box
        assert one.pixels.shape == (h, w)
        assert x >= 0 <= y
        assert x + w <= shape[1]
        assert y + h <= shape[0]
        assert one.pixels.any()


_OPEN: dict[tuple[Path, Prompt], SamBackend] = {}


def opened(folder: Path, kind: Prompt) -> SamBackend:
    """The same for all shapes: opening costs more than asking."""
    if (folder, kind) not in _OPEN:
        loose = {"predicted_iou": 0.0, "stability": 0.0, "largest": None, "smallest_region": 0}
        loose["threshold"] = 0.0 if kind is Prompt.everything else -1e6
        _OPEN[folder, kind] = backend(folder, kind, points_per_side=2, **loose)
        _OPEN[folder, kind].open()
    return _OPEN[folder, kind]


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _OPEN:
        _OPEN.popitem()[1].close()


def test_wrong_pictures_are_refused(sam_folder: Path) -> None:
    finder = opened(sam_folder, Prompt.box)
    for wrong in (np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)):
        with pytest.raises(ValueError, match="a picture is uint8"):
            finder.find([wrong], [Prompts()])
    with pytest.raises(ValueError, match="1 pictures and 2 prompts"):
        finder.find([np.zeros((4, 4, 3), np.uint8)], [Prompts(), Prompts()])


def test_half_precision_keeps_coordinates_and_scores(pictures: list[np.ndarray]) -> None:
    """In bfloat16 alone, transformers takes these two points for one."""
    import torch

    plain, ours = tiny_sam(1).to(torch.bfloat16), Sam(tiny_sam(1).to(torch.bfloat16), tiny_processor())
    points = torch.tensor([[[[60.0, 30.0]], [[60.03, 30.0]]]])
    labels = torch.ones(1, 2, 1, dtype=torch.int)
    one, other = plain.prompt_encoder(points, labels, None, None)[0][0]
    assert torch.equal(one, other)
    one, other = ours.model.prompt_encoder(points, labels, None, None)[0][0]
    assert not torch.equal(one, other)
    logits, iou = ours.ask(ours.embed(pictures[:2]), "box", torch.tensor([[[3.0, 5.0, 43.0, 35.0]]] * 2))
    assert (logits.dtype, iou.dtype) == (torch.bfloat16, torch.float32)
    assert not torch.equal(iou, iou.bfloat16().float())


def test_passes_ask_every_prompt_once_and_are_never_too_large() -> None:
    for counts, most in [([5, 1, 0, 9], 4), ([3, 3, 3], 2), ([1], 1), ([0, 0], 8), ([100, 1], 64)]:
        cut = list(passes(counts, most))
        asked = sorted((p, i) for one in cut for p, first, end in one for i in range(first, end))
        assert asked == [(p, i) for p, count in enumerate(counts) for i in range(count)]
        assert all(len(one) * max(end - first for _, first, end in one) <= most for one in cut)
