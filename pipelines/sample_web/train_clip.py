"""Train the small CLIP of the sample web: `uv run python -m pipelines.sample_web.train_clip --out FOLDER`.

Both towers learn to reach a code of what is there (`clip_codes`), each by itself: the text tower from captions, the
image tower from pictures, so that neither pays for the other's passes. The image tower looks first (what lies where,
how many of each), then its head is laid out from those sums and everything is trained on, with each picture's own hard
negatives in the softmax (as in NegCLIP, arXiv:2210.01936).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import clip_data, clip_eval, clip_files, clip_pictures
from pipelines.sample_web.clip_codes import directions
from pipelines.sample_web.clip_loss import Seen, Teachers, augmented, code_loss, lay_out_head, pixels

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)  # without slots: the command line reads its defaults from the class
class TrainConfig:
    scenes: int = 80_000
    looks: float = 2.5
    """Epochs of the image tower's trunk with its teachers alone."""
    epochs: float = 6.0
    """Epochs of the whole image tower on codes."""
    last_epochs: float = 0.6
    """More of them, at a quarter of the rate, with about as few grey pictures as there are."""
    text_epochs: float = 4.5
    """Epochs of the text tower, each with new captions."""
    batch: int = 64
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    seed: int = 0
    threads: int = 1
    held_out: int = 2_000


class Trainer:
    """Holds the model; `run` trains it and returns it in eval mode."""

    def __init__(self, config: TrainConfig, folder: Path) -> None:
        import open_clip
        import torch

        torch.manual_seed(config.seed)
        torch.set_num_threads(config.threads)
        self.config = config
        self.model: Any = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
        self.tokenize: Any = open_clip.get_tokenizer(f"local-dir:{folder}")
        self.visual: Any = self.model.visual.to(memory_format=torch.channels_last)
        self.teachers = Teachers(self.visual.trunk)
        self.table = directions(clip_files.EMBEDDING)
        self._generator = torch.Generator().manual_seed(config.seed)
        self._grey = clip_data.GREY_PICTURES

    def run(self, cache: Path | None) -> Any:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        config = self.config
        self.model.train()
        with sdpa_kernel(SDPBackend.MATH):  # on CPU the fused kernel is the slower one for texts this short
            self._train("text", self._text_loss, self._text_parameters(), config.text_epochs)
        places = clip_data.places(clip_data.TRAIN_SEED, config.scenes)
        codes = clip_data.scene_codes(clip_data.TRAIN_SEED, config.scenes)
        grey = clip_pictures.grey_rows(clip_data.TRAIN_SEED, config.scenes)
        data = _Pictures(_pictures(config.scenes, cache), grey, places, codes)
        trunk = [*self.visual.trunk.parameters(), *self.teachers.parameters()]
        self._train("look", lambda epoch, rows: self._look_loss(data, rows, with_codes=False), trunk, config.looks)
        cells = (clip_files.IMAGE_SIZE // 32) ** 2
        lay_out_head(self.visual.head.mlp, self.teachers.sums, cells, self.table)
        tower = [*self.visual.parameters(), *self.teachers.parameters()]
        self._train("code", lambda epoch, rows: self._look_loss(data, rows, with_codes=True), tower, config.epochs)
        self._grey = clip_data.GREY_AT_LAST
        self._train(
            "last", lambda epoch, rows: self._look_loss(data, rows, with_codes=True), tower, config.last_epochs, 0.25
        )
        return self.model.eval()

    def _text_parameters(self) -> list[torch.nn.Parameter]:
        named = self.model.named_parameters()
        return [p for name, p in named if not name.startswith("visual.") and name != "logit_scale"]

    def _train(
        self,
        name: str,
        loss_of: Callable[[int, np.ndarray], torch.Tensor],
        parameters: list[torch.nn.Parameter],
        epochs: float,
        of_rate: float = 1.0,
    ) -> None:
        """AdamW, no decay for vectors, one cycle of the learning rate. `loss_of`: epoch and rows → loss."""
        import torch

        config, started = self.config, time.monotonic()
        rate = config.rate * of_rate
        steps = int(epochs * (config.scenes // config.batch))
        matrices, vectors = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors}]
        optimizer = torch.optim.AdamW(groups, lr=rate, weight_decay=0.0, betas=(0.9, 0.98))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, rate, total_steps=steps + 1, pct_start=0.06, cycle_momentum=False
        )
        for step, (epoch, rows) in enumerate(_batches(config, steps), start=1):
            loss = loss_of(epoch, rows)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 2.0)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                each = step * config.batch / (time.monotonic() - started)
                print(f"{name} step {step} of {steps} loss {float(loss.detach()):.3f} {each:.0f} a second", flush=True)

    def _text_loss(self, epoch: int, rows: np.ndarray) -> torch.Tensor:
        import torch

        pairs = [clip_data.captioned(clip_data.TRAIN_SEED + int(row), epoch, self.table) for row in rows]
        tokens = self.tokenize([text for text, _ in pairs])
        tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        codes = torch.from_numpy(np.stack([code for _, code in pairs]).astype(np.float32))
        with torch.autocast("cpu", torch.bfloat16):
            found = encode_short(self.model, tokens)
        return code_loss(found, codes, codes[:, None], torch.zeros(len(codes), 1, dtype=torch.bool))

    def _look_loss(self, data: _Pictures, rows: np.ndarray, with_codes: bool) -> torch.Tensor:
        import torch

        grey = torch.rand(len(rows), generator=self._generator) < self._grey
        grey |= torch.from_numpy(data.grey[rows])
        images, moved = augmented(pixels(data.pictures[rows], grey.numpy()), self._generator)
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            found = self.visual(images) if with_codes else self.visual.trunk(images)
        loss = self.teachers.loss(Seen(torch.from_numpy(data.places[rows]), moved, grey))
        if not with_codes:
            return loss
        own = torch.from_numpy(data.codes.own[rows, grey.long().numpy()].astype(np.float32))
        wrong = torch.from_numpy(data.codes.wrong[rows].astype(np.float32))
        return loss + code_loss(found, own, wrong, torch.from_numpy(data.codes.possible[rows]) & ~grey[:, None])


@dataclass(frozen=True, slots=True)
class _Pictures:
    pictures: np.ndarray
    grey: np.ndarray
    places: np.ndarray
    codes: clip_data.SceneCodes


def _pictures(scenes: int, cache: Path | None) -> np.ndarray:
    if cache is not None and cache.exists():
        return np.load(cache)
    pictures = clip_pictures.draw_pictures(clip_data.TRAIN_SEED, scenes)
    if cache is not None:
        np.save(cache, pictures)
    return pictures


def _batches(config: TrainConfig, steps: int) -> Iterator[tuple[int, np.ndarray]]:
    """(epoch, rows) of each step; an epoch's last, smaller batch is left out."""
    each = config.scenes // config.batch
    for epoch in range(-(-steps // each)):
        order = np.random.default_rng([config.seed, epoch]).permutation(config.scenes)
        for step in range(min(each, steps - epoch * each)):
            yield epoch, np.sort(order[step * config.batch : (step + 1) * config.batch])


def encode_short(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """`model.encode_text` for tokens cut to the longest text of the batch: padding costs more than the texts."""
    import torch

    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return x[torch.arange(len(x)), tokens.argmax(-1)] @ model.text_projection


def train(config: TrainConfig, out: Path, cache: Path | None = None) -> float:
    """Train and write the checkpoint's files to `out`; returns the seconds spent."""
    words = clip_files.vocabulary()
    clip_files.write_tokenizer(out, words)
    clip_files.write_config(out, words)
    started = time.monotonic()
    model = Trainer(config, out).run(cache)
    clip_files.write_weights(out, model.state_dict())
    return time.monotonic() - started


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    scenes: Annotated[int, typer.Option(help="Scenes to draw and train on; a multiple of 500.")] = TrainConfig.scenes,
    looks: Annotated[float, typer.Option(help="Epochs of the image tower's trunk alone.")] = TrainConfig.looks,
    epochs: Annotated[float, typer.Option(help="Epochs of the whole image tower.")] = TrainConfig.epochs,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn pictures here between trials (.npy).")] = None,
    only_card: Annotated[bool, typer.Option(help="Measure an existing checkpoint, train nothing.")] = False,
) -> None:
    """Train the checkpoint, then measure it on held-out scenes and write its card."""
    config = TrainConfig(scenes=scenes, looks=looks, epochs=epochs)
    if not only_card:
        print(f"trained in {train(config, out, cache):.0f} s", flush=True)
    measured = clip_eval.card(out, config.held_out)
    clip_files.write_card(out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    typer.run(main)
