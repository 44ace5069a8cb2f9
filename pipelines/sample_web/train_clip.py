"""Train the small CLIP of the sample web: `uv run python -m pipelines.sample_web.train_clip --out FOLDER`.

Contrastive, with each picture's own hard negatives in the softmax (as in NegCLIP, arXiv:2210.01936) and a sigmoid
term (as in SigLIP, arXiv:2303.15343) that puts the scores of all pictures on one scale, so that one threshold serves.
The image tower first learns alone to say what lies where (`clip_loss.PlaceHead`), which takes no captions and is the
cheaper half. Minutes on two cores; same seed, same machine, same weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import clip_data, clip_eval, clip_files
from pipelines.sample_web.clip_loss import PlaceHead, augmented, contrastive, pixels, place_loss

if TYPE_CHECKING:
    import torch

    Optimizer = tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]


@dataclass(frozen=True, slots=True)
class TrainConfig:
    scenes: int = 40_000
    looks: int = 2
    """Epochs of the image tower alone."""
    epochs: int = 3
    """Epochs of both towers, each with new captions."""
    batch: int = 128
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    calibration: float = 1.0
    places: float = 1.0
    seed: int = 0
    threads: int = 1
    held_out: int = 2_000


class Trainer:
    """Holds the model and the loop; `run` trains and returns the open_clip model in eval mode."""

    def __init__(self, config: TrainConfig, folder: Path, pictures: np.ndarray) -> None:
        import open_clip
        import torch

        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config, self.pictures = config, pictures
        self.model: Any = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        self.model = self.model.to(memory_format=torch.channels_last)
        self.tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.bias = torch.nn.Parameter(torch.tensor(-8.0))
        self.places = clip_data.places(clip_data.TRAIN_SEED, config.scenes)
        self.place_head = PlaceHead(self.model.visual)

    def run(self) -> Any:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        config, generator = self.config, _generator(self.config.seed)
        self.model.train()
        tower = [*self.model.visual.parameters(), *self.place_head.parameters()]
        with sdpa_kernel(SDPBackend.MATH):  # on CPU the fused kernel is the slower one for texts this short
            optimizer = self._optimizer(tower, config.looks)
            for epoch in range(config.looks):
                order = np.random.default_rng([config.seed, epoch]).permutation(config.scenes)
                rows = [order[a : a + config.batch] for a in range(0, config.scenes - config.batch + 1, config.batch)]
                self._epoch(f"look {epoch}", rows, lambda r: self._look(r, generator), optimizer)
            both = [*self.model.parameters(), *self.place_head.parameters(), self.bias]
            optimizer = self._optimizer(both, config.epochs)
            for epoch in range(config.epochs):
                batches = clip_data.text_batches(clip_data.TRAIN_SEED, config.scenes, config.batch, epoch)
                self._epoch(f"epoch {epoch}", batches, lambda b: self._loss(b, generator), optimizer)
        return self.model.eval()

    def _optimizer(self, parameters: list[torch.nn.Parameter], epochs: int) -> Optimizer:
        """AdamW over `parameters`, no decay for vectors, one learning rate cycle over `epochs`."""
        import torch

        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": self.config.weight_decay}, {"params": vectors}]
        optimizer = torch.optim.AdamW(groups, lr=self.config.rate, weight_decay=0.0, betas=(0.9, 0.98))
        steps = max(2, epochs * (self.config.scenes // self.config.batch))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, self.config.rate, total_steps=steps, pct_start=0.08, cycle_momentum=False
        )
        return optimizer, schedule

    def _epoch(self, name: str, batches: Iterable[Any], loss_of: Callable[[Any], Any], optimizer: Optimizer) -> None:
        import torch

        started = time.monotonic()
        for step, batch in enumerate(batches, start=1):
            loss = loss_of(batch)
            optimizer[0].zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            optimizer[0].step()
            optimizer[1].step()
            with torch.no_grad():
                self.model.logit_scale.clamp_(0, 4.0)
            if step % 50 == 0:
                rate = step * self.config.batch / (time.monotonic() - started)
                print(f"{name} step {step} loss {float(loss.detach()):.3f} {rate:.0f} images/s", flush=True)

    def _look(self, rows: np.ndarray, generator: torch.Generator) -> torch.Tensor:
        """The place loss alone, through the first three stages."""
        import torch

        grey = torch.rand(len(rows), generator=generator).numpy() < clip_data.GREY_SHARE
        images, moved = augmented(pixels(self.pictures[rows], grey), generator)
        visual = self.model.visual
        with torch.autocast("cpu", torch.bfloat16):
            x = visual.stem(images.contiguous(memory_format=torch.channels_last))
            visual.layer3(visual.layer2(visual.layer1(x)))
        return place_loss(self.place_head(), self.places[rows], moved, torch.from_numpy(grey))

    def _loss(self, batch: clip_data.TextBatch, generator: torch.Generator) -> torch.Tensor:
        import torch
        from torch.nn.functional import normalize

        images, moved = augmented(pixels(self.pictures[batch.rows], batch.grey), generator)
        possible = torch.tensor([[bool(t) for t in row] for row in batch.wrong])
        left_out = torch.randint(possible.shape[1], (len(possible),), generator=generator)
        possible[torch.arange(len(possible)), left_out] = False
        flat = [
            t for row, used in zip(batch.wrong, possible, strict=True) for t, use in zip(row, used, strict=True) if use
        ]
        tokens = self.tokenize([*batch.true, *flat])
        tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image(images.contiguous(memory_format=torch.channels_last))
            text = encode_short(self.model, tokens)
        image, text = normalize(image.float(), dim=-1), normalize(text.float(), dim=-1)
        wrong = torch.zeros(*possible.shape, text.shape[1])
        wrong[possible] = text[len(batch.true) :]
        same = torch.tensor([[a == b for b in batch.keys] for a in batch.keys])
        parts = {"image": image, "true": text[: len(batch.true)], "wrong": wrong, "possible": possible, "same": same}
        loss = contrastive(parts, self.model.logit_scale.exp(), self.bias, self.config.calibration)
        seen = place_loss(self.place_head(), self.places[batch.rows], moved, torch.from_numpy(batch.grey))
        return loss + self.config.places * seen


def _generator(seed: int) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(seed)


def encode_short(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` for tokens cut to the longest text of the batch: padding costs more than the texts."""
    import torch

    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection


def train(config: TrainConfig, out: Path, cache: Path | None = None) -> float:
    """Train and write the checkpoint's files to `out`; returns the seconds spent in the loop."""
    words = clip_files.vocabulary()
    clip_files.write_tokenizer(out, words)
    clip_files.write_config(out, words)
    if cache is not None and cache.exists():
        pictures = np.load(cache)
    else:
        pictures = clip_data.draw_pictures(clip_data.TRAIN_SEED, config.scenes)
        if cache is not None:
            np.save(cache, pictures)
    started = time.monotonic()
    model = Trainer(config, out, pictures).run()
    clip_files.write_weights(out, model.state_dict())
    return time.monotonic() - started


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    scenes: Annotated[int, typer.Option(help="Scenes to draw and train on.")] = TrainConfig.scenes,
    epochs: Annotated[int, typer.Option(help="Times each scene is seen, with new captions.")] = TrainConfig.epochs,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn pictures here between trials (.npy).")] = None,
    only_card: Annotated[bool, typer.Option(help="Measure an existing checkpoint, train nothing.")] = False,
) -> None:
    """Train the checkpoint, then measure it on held-out scenes and write its card."""
    config = TrainConfig(scenes=scenes, epochs=epochs)
    if not only_card:
        print(f"trained in {train(config, out, cache):.0f} s", flush=True)
    measured = clip_eval.card(out, config.held_out)
    clip_files.write_card(out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    typer.run(main)
