"""Train the small SAM of the sample web: `uv run python -m pipelines.sample_web.train_sam --out FOLDER`.

The encoder looks first: a teacher reads from its patches what lies where. Then masks are learnt from the feature under
each prompt (`sam_match`), the decoder's attention is laid out to fetch that feature, and everything is trained on
prompts as SAM is (arXiv:2304.02643, section 3 and appendix A): the best of the three masks of a prompt learns, and each
mask's IoU is predicted. One point or one box is a prompt; there are no rounds of corrections, and no masks are given as
prompts. The decoder's look from the picture at the tokens adds nothing at first (`sam_fast`) and learns at the end.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import sam_data, sam_eval, sam_fast, sam_files, sam_loss, sam_match
from pipelines.sample_web.clip_data import TRAIN_SEED

if TYPE_CHECKING:
    import torch


_ONE, _THREE = slice(0, 1), slice(1, None)
"""The decoder's masks: of `multimask_output=False`, and of True."""
_ASKED = sam_data.Asked(points=8, background=2, boxes=4)
_WARM = 100
"""Steps in which the learning rate rises, at most."""


@dataclass(frozen=True)  # without slots: the command line reads its defaults from the class
class TrainConfig:
    scenes: int = 16_000
    """Drawn for it, a multiple of 250."""
    looks: int = 600
    """Steps of the encoder with its teacher."""
    matches: int = 5_000
    """Steps of the encoder and what makes masks, with the feature under each prompt."""
    fetches: int = 120
    """Steps of the decoder alone, which learns to fetch it."""
    answers: int = 6_000
    """Steps of everything but the picture's look at the tokens."""
    ends: int = 900
    """Steps of everything, at about half the rate."""
    look_batch: int = 16
    batch: int = 12
    rate: float = 1e-3
    """Of the encoder; the decoder's is twice that."""
    weight_decay: float = 0.02
    grey: float = 0.1
    """Share of pictures that lose their colours."""
    seed: int = 0
    threads: int = 1
    held_out: int = 500


class Trainer:
    """Holds the model; `run` trains it and returns it in eval mode."""

    def __init__(self, config: TrainConfig, data: sam_data.Drawn, model: Any) -> None:
        import torch

        torch.set_num_threads(config.threads)
        self.config, self.data, self.model = config, data, model
        self.teacher, self.hand_over = sam_loss.new_teacher(), sam_match.new_hand_over()
        self._rng = np.random.default_rng(config.seed)
        self._generator = torch.Generator().manual_seed(config.seed)

    def run(self) -> Any:
        self.model.train()
        encoder, size = list(self.model.vision_encoder.parameters()), self.config.batch
        self._train(
            "look", self._look, [encoder, self.teacher.parameters()], (self.config.looks, self.config.look_batch)
        )
        decoder = self.model.mask_decoder
        makers = [decoder.upscale_conv1, decoder.upscale_conv2, decoder.upscale_layer_norm]
        makers += [decoder.output_hypernetworks_mlps]
        making = [p for part in makers for p in part.parameters()]
        self._train(
            "match", self._match, [encoder, [*making, *self.hand_over.parameters()]], (self.config.matches, size)
        )
        if self.config.matches:
            sam_match.lay_out(self.model, self.hand_over, self.config.seed)
        rest = [p for name, p in self.model.named_parameters() if not name.startswith("vision_encoder.")]
        self._train("fetch", self._fetch, [[], [*rest, *self.hand_over.parameters()]], (self.config.fetches, size))
        self._train("answer", self._answer, [encoder, rest], (self.config.answers, size))
        self._train("end", self._end, [encoder, rest], (self.config.ends, size), of_rate=0.3)
        return self.model.eval()

    def _train(
        self,
        name: str,
        loss_of: Callable[[np.ndarray], "tuple[torch.Tensor, dict[str, float]]"],
        parameters: "Sequence[Iterable[torch.nn.Parameter]]",
        length: tuple[int, int],
        of_rate: float = 1.0,
    ) -> None:
        """AdamW, one cycle of the learning rate. `parameters`: the encoder's, and those of what learns twice as fast.
        `length`: steps, and scenes in each."""
        import torch

        (steps, size), config = length, self.config
        if not steps:
            return
        slow, fast = (list(some) for some in parameters)
        rate = config.rate * of_rate
        groups = [{"params": some, "lr": lr} for some, lr in ((slow, rate), (fast, 2 * rate)) if some]
        optimizer = torch.optim.AdamW(groups, weight_decay=config.weight_decay, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            [group["lr"] for group in groups],
            total_steps=steps + 1,
            pct_start=min(0.1, _WARM / steps),
            cycle_momentum=False,
        )
        started, order, facts = time.monotonic(), np.zeros(0, np.int64), []
        for step in range(1, steps + 1):
            if len(order) < size:
                order = np.append(order, self._rng.permutation(len(self.data.counts)))
            loss, fact = loss_of(order[:size])
            order = order[size:]
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_([*slow, *fast], 1.0)
            optimizer.step()
            schedule.step()
            facts.append({"loss": float(loss.detach()), **fact})
            if step % 50 == 0:
                means = " ".join(f"{key} {np.mean([f[key] for f in facts]):.3f}" for key in facts[0])
                facts.clear()
                each = step * size / (time.monotonic() - started)
                print(f"{name} step {step} of {steps} {means}, {each:.1f} scenes a second", flush=True)

    def _look(self, rows: np.ndarray) -> "tuple[torch.Tensor, dict[str, float]]":
        import torch

        seen = sam_data.batch(self.data, rows, sam_data.Asked(), self._rng)
        read = self.teacher(self._embedded(seen))
        return sam_loss.look_loss(read, torch.from_numpy(seen.coverage), torch.from_numpy(seen.object_boxes)), {}

    def _embedded(self, seen: sam_data.Batch) -> "torch.Tensor":
        """The encoder's output, float32; its own sums in bfloat16."""
        import torch

        images = shown(seen, self.config.grey, self._generator)
        with torch.autocast("cpu", torch.bfloat16):
            return self.model.vision_encoder(images).last_hidden_state.float()

    def _match(self, rows: np.ndarray) -> "tuple[torch.Tensor, dict[str, float]]":
        """All four masks of points, made from the feature that lies under them."""
        import torch

        seen = sam_data.batch(self.data, rows, sam_data.Asked(points=10, background=0), self._rng)
        points, which = torch.from_numpy(seen.points), torch.from_numpy(seen.pointed)
        masks = sam_loss.at_pixels(sam_match.matched(self.model, self.hand_over, self._embedded(seen), points))
        target = sam_loss.picked(torch.from_numpy(seen.coverage), which)
        best = sam_loss.true_iou(masks.detach().flatten(0, 1), target.flatten(0, 1)).max(1).values.mean()
        return sam_loss.mask_loss(masks, target).mean(), {"iou": float(best)}

    def _fetch(self, rows: np.ndarray) -> "tuple[torch.Tensor, dict[str, float]]":
        """All masks of a prompt alike, and their tokens as `hand_over` makes them; the encoder stays as it is."""
        import torch

        seen, coverage = self._asked(rows)
        with torch.no_grad():
            features = self._embedded(seen)
        sparse, which = self._prompts(seen)
        said, real = sam_fast.answers(self.model, features, sparse), which >= 0
        target = sam_loss.picked(coverage, which)
        wanted = sam_loss.picked(sam_match.fetched(self.hand_over, features, coverage).detach(), which)
        far = (said.tokens[:, :, 1:5] - wanted[:, :, None])[real].square().mean()
        masks = sam_loss.at_pixels(said.masks)
        told = self._told(masks, said.iou, coverage, which)
        loss = sam_loss.mask_loss(masks, target)[real].mean() + 0.5 * far + told.iou
        return loss, {"iou": float(told.best), "far": float(far.detach())}

    def _answer(self, rows: np.ndarray) -> "tuple[torch.Tensor, dict[str, float]]":
        """Many prompts for each scene, answered with three masks and with one."""
        seen, coverage = self._asked(rows)
        sparse, which = self._prompts(seen)
        said = sam_fast.answers(self.model, self._embedded(seen), sparse)
        return self._judged(said.masks, said.iou, coverage, which)

    def _end(self, rows: np.ndarray) -> "tuple[torch.Tensor, dict[str, float]]":
        """The same through the decoder as it is: dearer, so about fewer prompts."""
        seen, coverage = self._asked(rows, sam_data.Asked(points=3, background=1, boxes=3))
        sparse, which = self._prompts(seen)
        return self._judged(*sam_fast.whole(self.model, self._embedded(seen), sparse), coverage, which)

    def _judged(self, masks: Any, iou: Any, coverage: Any, which: Any) -> "tuple[torch.Tensor, dict[str, float]]":
        masks = sam_loss.at_pixels(masks)
        three, one = (self._told(masks[:, :, k], iou[:, :, k], coverage, which) for k in (_THREE, _ONE))
        loss = three.mask + three.iou + (one.mask + one.iou) * 0.3
        error = float(three.iou.detach()) ** 0.5
        return loss, {"iou": float(three.best), "one": float(one.best), "error": error}

    def _asked(self, rows: np.ndarray, asked: sam_data.Asked = _ASKED) -> "tuple[sam_data.Batch, torch.Tensor]":
        import torch

        seen = sam_data.batch(self.data, rows, asked, self._rng)
        return seen, torch.from_numpy(seen.coverage)

    def _prompts(self, seen: sam_data.Batch) -> "tuple[torch.Tensor, torch.Tensor]":
        """Tokens of points and boxes (n, prompts, 2, channels), and what each is about (n, prompts)."""
        import torch

        points, boxes = torch.from_numpy(seen.points), torch.from_numpy(seen.boxes)
        which = torch.from_numpy(np.concatenate((seen.pointed, seen.boxed), 1))
        return torch.cat((self._prompted(points=points), self._prompted(boxes=boxes)), 1), which

    def _prompted(self, points: Any = None, boxes: Any = None) -> "torch.Tensor":
        """Tokens of prompts, (n, prompts, 2, channels); a point is asked with as an object's."""
        import torch

        asked = None if points is None else points[:, :, None, :]
        labels = None if asked is None else torch.ones(asked.shape[:3], dtype=torch.int32)
        return self.model.prompt_encoder(input_points=asked, input_labels=labels, input_boxes=boxes, input_masks=None)[
            0
        ]

    def _told(self, masks: Any, iou: Any, coverage: Any, which: Any) -> sam_loss.Told:
        target = sam_loss.picked(coverage, which)
        return sam_loss.told(masks.flatten(0, 1), iou.flatten(0, 1), target.flatten(0, 1), (which >= 0).flatten())


def shown(seen: sam_data.Batch, grey: float, generator: "torch.Generator") -> "torch.Tensor":
    """Pictures as the image processor gives them, float32 (n, 3, SIDE, SIDE), in another light, some without colours.

    The padding is 0, as the processor's.
    """
    import torch
    from transformers.utils.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

    images = torch.from_numpy(seen.pictures).permute(0, 3, 1, 2).float() / 255
    many = len(images)
    contrast, light = (torch.rand(2, many, 1, 1, 1, generator=generator) - 0.5).unbind(0)
    images = (images - 0.5) * (1 + 0.5 * contrast) + 0.5 + 0.25 * light
    images += torch.randn(images.shape, generator=generator) * 0.03 * torch.rand(many, 1, 1, 1, generator=generator)
    lost = torch.rand(many, 1, 1, 1, generator=generator) < grey
    images = torch.where(lost, images.mean(1, keepdim=True), images).clamp(0, 1)
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    line = torch.arange(images.shape[2])
    height, width = torch.from_numpy(seen.sizes).unbind(1)
    inside = (line < height[:, None])[:, None, :, None] & (line < width[:, None])[:, None, None, :]
    return (images - mean) / deviation * inside


def train(config: TrainConfig, out: Path, cache: Path | None = None, start: Path | None = None) -> float:
    """Train and write the checkpoint to `out`; returns the seconds spent. `start`: a checkpoint to go on from."""
    data = _scenes(config.scenes, cache)
    model = sam_files.load(start)[0] if start else sam_files.new_model(config.seed)
    started = time.monotonic()
    sam_files.write(out, Trainer(config, data, model).run())
    return time.monotonic() - started


def _scenes(scenes: int, cache: Path | None) -> sam_data.Drawn:
    if cache is not None and cache.exists():
        return sam_data.Drawn.load(cache)
    data = sam_data.draw_scenes(TRAIN_SEED, scenes)
    if cache is not None:
        data.save(cache)
    return data


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    looks: Annotated[int, typer.Option(help="Steps of the encoder alone.")] = TrainConfig.looks,
    matches: Annotated[int, typer.Option(help="Steps with the feature under each prompt.")] = TrainConfig.matches,
    answers: Annotated[int, typer.Option(help="Steps of the whole model.")] = TrainConfig.answers,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn scenes here between trials (.npz).")] = None,
    only_card: Annotated[bool, typer.Option(help="Measure an existing checkpoint, train nothing.")] = False,
) -> None:
    """Train the checkpoint, then measure it on held-out scenes and write its card."""
    config = TrainConfig(looks=looks, matches=matches, answers=answers)
    if not only_card:
        print(f"trained in {train(config, out, cache):.0f} s", flush=True)
    measured = sam_eval.card(out, config.held_out)
    sam_files.write_card(out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    typer.run(main)
