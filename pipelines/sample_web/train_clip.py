"""Train the small CLIP of the sample web: `uv run python -m pipelines.sample_web.train_clip --out FOLDER`.

Contrastive, with each picture's own hard negatives in the softmax (as in NegCLIP, arXiv:2210.01936) and a sigmoid
term (as in SigLIP, arXiv:2303.15343) that puts the scores of all pictures on one scale, so that one threshold serves.
Minutes on two cores; same seed, same machine, same weights.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import clip_data, clip_eval, clip_files

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class TrainConfig:
    scenes: int = 40_000
    epochs: int = 4
    batch: int = 128
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    calibration: float = 1.0
    seed: int = 0
    threads: int = 2
    held_out: int = 2_000


def pixels(pictures: np.ndarray, grey: np.ndarray) -> torch.Tensor:
    """uint8 (B, H, W, 3) to normalised float32 (B, 3, H, W); rows marked grey lose their colour."""
    import torch

    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    luma = (x * torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)).sum(1, keepdim=True)
    x = torch.where(torch.from_numpy(grey).view(-1, 1, 1, 1), luma.expand_as(x), x)
    return (x - 0.5) / 0.25


def augmented(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Brightness ±20 %, a crop of up to 5 % a side, shifts: what near duplicates go through."""
    import torch

    n = len(x)
    u = torch.rand(5, n, generator=generator)
    x = ((x * 0.25 + 0.5) * (0.8 + 0.4 * u[0]).view(-1, 1, 1, 1)).clamp(0, 1)
    x = (x - 0.5) / 0.25
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = 0.92 + 0.1 * u[1], 0.92 + 0.1 * u[2]
    theta[:, 0, 2], theta[:, 1, 2] = (u[3] - 0.5) * 0.05, (u[4] - 0.5) * 0.05
    grid = torch.nn.functional.affine_grid(theta, list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def loss_of(parts: dict[str, torch.Tensor], scale: torch.Tensor, bias: torch.Tensor, weight: float) -> torch.Tensor:
    """`image` (B, D), `true` (B, D), `wrong` (B, K, D), `possible` (B, K) bool, `same` (B, B) bool: equal content."""
    import torch
    from torch.nn.functional import cross_entropy, softplus

    image, true = parts["image"], parts["true"]
    eye = torch.eye(len(image), dtype=torch.bool)
    confused = parts["same"] & ~eye
    across = (scale * image @ true.T).masked_fill(confused, -1e4)
    own = (scale * torch.einsum("bd,bkd->bk", image, parts["wrong"])).masked_fill(~parts["possible"], -1e4)
    target = torch.arange(len(image))
    contrast = cross_entropy(torch.cat([across, own], 1), target) + cross_entropy(across.T, target)
    positive = softplus(-(across.diagonal() + bias)).mean()
    hard = softplus(own + bias)[parts["possible"]].mean()
    easy = softplus(across + bias)[~eye & ~confused].mean()
    return contrast + weight * (2 * positive + 2 * hard + easy)


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
        decayed = [p for p in self.model.parameters() if p.ndim > 1]
        plain = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": [*plain, self.bias]}]
        self.optimizer = torch.optim.AdamW(groups, lr=config.rate, weight_decay=0.0, betas=(0.9, 0.98))
        self.steps = config.epochs * (config.scenes // config.batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, config.rate, total_steps=self.steps, pct_start=0.08, cycle_momentum=False
        )

    def run(self) -> Any:
        import torch

        generator = torch.Generator().manual_seed(self.config.seed)
        started, step = time.monotonic(), 0
        self.model.train()
        for epoch in range(self.config.epochs):
            for batch in clip_data.text_batches(clip_data.TRAIN_SEED, self.config.scenes, self.config.batch, epoch):
                loss = self._step(batch, generator)
                step += 1
                if step % 50 == 0:
                    seconds = time.monotonic() - started
                    print(f"step {step}/{self.steps} loss {loss:.3f} {step * self.config.batch / seconds:.0f} images/s", flush=True)
        return self.model.eval()

    def _step(self, batch: clip_data.TextBatch, generator: torch.Generator) -> float:
        import torch
        from torch.nn.functional import normalize

        images = augmented(pixels(self.pictures[batch.rows], batch.grey), generator)
        possible = torch.tensor([[bool(t) for t in row] for row in batch.wrong])
        flat = [t for row in batch.wrong for t in row if t]
        tokens = self.tokenize([*batch.true, *flat])
        tokens = tokens[:, : int((tokens != 0).sum(1).max())]
        with torch.autocast("cpu", torch.bfloat16):
            image = self.model.encode_image(images.contiguous(memory_format=torch.channels_last))
            text = self.model.encode_text(_padded(tokens, self.model.context_length))
        image, text = normalize(image.float(), dim=-1), normalize(text.float(), dim=-1)
        wrong = torch.zeros(*possible.shape, text.shape[1])
        wrong[possible] = text[len(batch.true) :]
        same = torch.tensor([[a == b for b in batch.keys] for a in batch.keys])
        parts = {"image": image, "true": text[: len(batch.true)], "wrong": wrong, "possible": possible, "same": same}
        loss = loss_of(parts, self.model.logit_scale.exp(), self.bias, self.config.calibration)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(0, 4.0)
        return float(loss.detach())


def _padded(tokens: torch.Tensor, length: int) -> torch.Tensor:
    import torch

    return torch.nn.functional.pad(tokens, (0, length - tokens.shape[1]))


def scores(model: Any, tokenize: Any, start: int, count: int) -> dict[str, np.ndarray]:
    """Cosines on held-out scenes: `clean`, `swapped` (another scene's caption), and one array per hard kind."""
    import torch
    from torch.nn.functional import normalize

    pictures = clip_data.draw_pictures(start, count)
    parts = [clip_data.captions(clip_data.make_scene(start + i), 0) for i in range(count)]
    grey = np.array([p[0] for p in parts])
    embed = lambda encode, items: normalize(torch.cat([encode(items[a : a + 256]) for a in range(0, len(items), 256)]), dim=-1)  # noqa: E501, E731
    with torch.inference_mode():
        image = embed(model.encode_image, pixels(pictures, grey))
        true = embed(lambda t: model.encode_text(tokenize(t)), [p[1] for p in parts])
        found = {"clean": (image * true).sum(1).numpy(), "swapped": (image * true.roll(1, 0)).sum(1).numpy()}
        for k, kind in enumerate(clip_data.KINDS):
            rows = [i for i, p in enumerate(parts) if p[2][k]]
            wrong = embed(lambda t: model.encode_text(tokenize(t)), [parts[i][2][k] for i in rows])
            found[str(kind)] = (image[rows] * wrong).sum(1).numpy()
    return found


def summary(found: dict[str, np.ndarray]) -> dict[str, Any]:
    clean = found["clean"]
    table: dict[str, Any] = {}
    for name, wrong in found.items():
        if name == "clean":
            continue
        few = wrong[: max(1, len(clean) // 10)]
        at = clip_eval.threshold_at_precision(clean, few, 0.99 if name == "swapped" else 0.95)
        table[name] = {
            "auc": round(clip_eval.auc(clean, wrong), 5),
            "threshold": round(at, 4),
            "recall": round(clip_eval.precision_recall(clean, wrong, at)[1], 4),
        }
    return table


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    scenes: int = TrainConfig.scenes,
    epochs: int = TrainConfig.epochs,
    cache: Annotated[Path | None, typer.Option(help="Keep the drawn pictures here between trials.")] = None,
) -> None:
    config = TrainConfig(scenes=scenes, epochs=epochs)
    words = clip_files.vocabulary()
    clip_files.write_tokenizer(out, words)
    clip_files.write_config(out, words)
    started = time.monotonic()
    if cache and cache.exists():
        pictures = np.load(cache, mmap_mode="r")
    else:
        pictures = clip_data.draw_pictures(clip_data.TRAIN_SEED, scenes)
        if cache:
            np.save(cache, pictures)
    print("words", len(words), "drawn in", round(time.monotonic() - started), "s", flush=True)
    trainer = Trainer(config, out, pictures)
    model = trainer.run()
    clip_files.write_weights(out, model.state_dict())
    print("trained in", round(time.monotonic() - started), "s")
    print(json.dumps(summary(scores(model, trainer.tokenize, clip_data.VALIDATION_SEED, config.held_out)), indent=1))


if __name__ == "__main__":
    typer.run(main)
