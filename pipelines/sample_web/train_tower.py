"""Train the small vision tower of the sample web: `uv run python -m pipelines.sample_web.train_tower --out FOLDER`.

A stand-in for a pretrained CLIP tower, for `pairmill demo --train`. Its features must say what lies where, since LLaVA
reads patches: a teacher that is thrown away asks them (`tower_loss`), with attention that begins by looking at
neighbours (`tower_files`). Beside it the pooled vector learns the small CLIP's code.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import tower_data, tower_eval, tower_files, tower_loss

_WARM = 200
"""Steps in which the learning rate rises."""
_FALL = 0.25
"""Last share of the steps, in which it falls."""
_MIDDLE = 3
"""The hidden states that the teacher reads early."""
_LUMA = np.asarray((0.299, 0.587, 0.114), np.float32)


@dataclass(frozen=True)  # without slots: the command line reads its defaults from the class
class TrainConfig:
    scenes: int = 80_000
    """Drawn for it."""
    steps: int = 2_100
    batch: int = 64
    rate: float = 1.2e-3
    weight_decay: float = 0.03
    grey: float = 0.03
    """Share of pictures that lose their colours, beside those that have lost them as files."""
    light: float = 0.15
    """Largest change of brightness, up or down."""
    seed: int = 0
    threads: int = 1
    held_out: int = 300


class Trainer:
    """Holds the model; `run` trains it and returns it in eval mode."""

    def __init__(self, config: TrainConfig, data: tower_data.Drawn, model: Any) -> None:
        import torch

        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.data, self.model = config, data, model
        self.teacher = tower_loss.Teacher()
        self._rng = np.random.default_rng(config.seed)
        parameters = [*model.parameters(), *self.teacher.parameters()]
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._parameters = parameters
        self._optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)

    def run(self) -> Any:
        import torch

        self.model.train()
        order, facts, started = np.zeros(0, np.int64), [], time.monotonic()
        for step in range(1, self.config.steps + 1):
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.rate * rate_at(step, self.config.steps)
            if len(order) < self.config.batch:
                order = np.append(order, self._rng.permutation(len(self.data.grey)))
            loss, fact = self.loss(order[: self.config.batch])
            order = order[self.config.batch :]
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self._parameters, 1.0)
            self._optimizer.step()
            facts.append({"loss": float(loss.detach()), **fact})
            if step % 100 == 0:
                means = " ".join(f"{key} {np.mean([f[key] for f in facts]):.3f}" for key in facts[0])
                facts.clear()
                each = step * self.config.batch / (time.monotonic() - started)
                print(f"step {step} of {self.config.steps} {means}, {each:.0f} pictures a second", flush=True)
        return self.model.eval()

    def loss(self, rows: np.ndarray) -> tuple[Any, dict[str, float]]:
        """Of these pictures, in another light, some without their colours."""
        import torch

        pictures, grey = self.data.pictures[rows], self.data.grey[rows]
        lost = (self._rng.random(len(rows)) < self.config.grey) & ~grey
        pictures[lost] = np.rint(pictures[lost] @ _LUMA).astype(np.uint8)[..., None]
        gain = 1 + self.config.light * (2 * self._rng.random((len(rows), 1, 1, 1), dtype=np.float32) - 1)
        lit = np.clip(pictures * gain.astype(np.float32), 0, 255)
        with torch.autocast("cpu", torch.bfloat16):
            made = self.model(pixel_values=tower_eval.pixels(lit), output_hidden_states=True)
        grey = torch.from_numpy(grey | lost)
        coverage = torch.from_numpy(self.data.coverage[rows]).flatten(2).float() / 255
        truth = tower_loss.Truth(torch.from_numpy(self.data.objects[rows]), coverage, grey)
        last, middle = (made.hidden_states[layer][:, 1:].float() for layer in (tower_eval.LAYER, _MIDDLE))
        looked, facts = self.teacher.loss(last, middle, truth)
        codes = torch.from_numpy(self.data.codes[rows, np.asarray(grey, np.int64)]).float()
        far = tower_loss.code_loss(made.image_embeds.float(), codes)
        return looked + far, {**facts, "code": float(far.detach())}


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate: up, level, down to nearly nothing."""
    return min(1.0, step / min(_WARM, steps)) * min(1.0, (1 - step / steps) / _FALL + 0.01)


def train(config: TrainConfig, out: Path, cache: Path | None = None, start: Path | None = None) -> float:
    """Train and write the checkpoint to `out`; returns the seconds spent. `start`: a checkpoint to go on from."""
    if cache is not None and cache.exists():
        data = tower_data.Drawn.load(cache)
    else:
        data = tower_data.draw_scenes(config.scenes)
        if cache is not None:
            data.save(cache)
    model = tower_files.load(start) if start else tower_files.new_model(config.seed)
    started = time.monotonic()
    tower_files.write(out, Trainer(config, data, model).run())
    return time.monotonic() - started


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    scenes: Annotated[int, typer.Option(help="Drawn for it, 49 kB each in memory.")] = TrainConfig.scenes,
    steps: Annotated[int, typer.Option(help="Of 64 pictures.")] = TrainConfig.steps,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn scenes here between trials (.npz).")] = None,
    start: Annotated[Path | None, typer.Option(help="A checkpoint to go on from.")] = None,
    only_card: Annotated[bool, typer.Option(help="Measure an existing checkpoint, train nothing.")] = False,
) -> None:
    """Train the checkpoint, then measure it on held-out scenes and write its card."""
    config = TrainConfig(scenes=scenes, steps=steps)
    if not only_card:
        print(f"trained in {train(config, out, cache, start):.0f} s", flush=True)
    measured = tower_eval.card(out, config.held_out)
    tower_files.write_card(out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    typer.run(main)
