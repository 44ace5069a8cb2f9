"""Train the sample web's small language model: `uv run python -m pipelines.sample_web.train_language --out FOLDER`.

A stand-in for a pretrained language model, for `pairmill demo --train`: it learns the template teacher's questions and
answers, and captions, from texts about scenes. Where LLaVA puts a picture's features, a document says what is there
(`language_data`), so that looking things up in what stands before a question is learnt here and seeing is all that is
left to learn.
"""

import json
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from pipelines.sample_web import language_data, language_eval, language_files
from pipelines.sample_web.language_batch import Batch, Form, Rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch

_WARM = 150
"""Steps in which the learning rate rises."""
_FALL = 0.3
"""Last share of the steps, in which it falls."""
_EARLY = 0.4
"""First share, in which most boards have few squares, and most rows are notes."""


@dataclass(frozen=True)  # without slots: the command line reads its defaults from the class
class TrainConfig:
    scenes: int = 20_000
    steps: int = 2_000
    batch: int = 12
    """Documents with two conversations each; of captions and notes twice as many."""
    rate: float = 1.5e-3
    weight_decay: float = 0.05
    captions: float = 0.12
    """Share of the steps that learn captions."""
    listed: float = 0.12
    """Share with the scene in words."""
    notes: tuple[float, float] = (0.7, 0.3)
    """Share that learns to look things up one by one, early and later: a conversation asks for that in one word of
    twenty."""
    looked_up: int = 10
    """In each of these rows, at most."""
    noise: float = 0.3
    """Largest deviation of what is added to a board's vectors, as a share of theirs."""
    seed: int = 0
    threads: int = 1
    held_out: int = 60


class Trainer:
    """Holds the model; `run` trains it and returns it in eval mode."""

    def __init__(self, config: TrainConfig, found: list[language_data.Document], model: Any, tokenizer: Any) -> None:
        import torch

        torch.set_num_threads(config.threads)
        torch.manual_seed(config.seed)
        self.config, self.documents, self.model = config, found, model
        self._rows, self._rng = Rows(tokenizer), Random(config.seed)
        self._words = torch.tensor(language_data.token_ids(tokenizer))
        parameters = list(model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=config.rate, betas=(0.9, 0.98), fused=True)

    def run(self) -> Any:
        import torch

        self.model.train()
        order: list[int] = []
        losses: dict[str, list[float]] = {}
        started = time.monotonic()
        for step in range(1, self.config.steps + 1):
            for group in self._optimizer.param_groups:
                group["lr"] = self.config.rate * rate_at(step, self.config.steps)
            form = self.form(step)
            many = self.config.batch * (2 if form.captions or form.notes else 1)
            while len(order) < many:
                order += self._rng.sample(range(len(self.documents)), len(self.documents))
            chosen, order = order[:many], order[many:]
            with attending_in_float32():
                loss, answers = self.loss(self._rows.batch([self.documents[i] for i in chosen], form, self._rng))
                self._optimizer.zero_grad(set_to_none=True)
                loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self._optimizer.step()
            losses.setdefault("captions" if form.captions else "notes" if form.notes else "answers", []).append(answers)
            if step % 50 == 0:
                spent = time.monotonic() - started
                means = " ".join(f"{name} {np.mean(found):.3f}" for name, found in sorted(losses.items()))
                print(f"step {step} of {self.config.steps} {means}, {spent:.0f} s", flush=True)
                losses.clear()
        return self.model.eval()

    def form(self, step: int) -> Form:
        """What this step's rows are."""
        early = step <= _EARLY * self.config.steps
        few = self._rng.random() < (0.8 if early else 0.3)
        if self._rng.random() < self.config.notes[0 if early else 1]:
            return Form(notes=self.config.looked_up, few=few)
        drawn = self._rng.random()
        return Form(listed=drawn > 1 - self.config.listed, captions=drawn < self.config.captions, few=few)

    def loss(self, batch: Batch) -> "tuple[torch.Tensor, float]":
        """The weighted mean over a batch's words, and the mean over its answers' alone."""
        import torch
        from torch.nn.functional import cross_entropy

        embedded = self.embedded(batch)
        targets, weights = batch.ids[:, 1:], batch.weights[:, 1:]
        learnt = weights > 0
        with torch.autocast("cpu", torch.bfloat16):
            hidden = self.model.model(inputs_embeds=embedded, use_cache=False).last_hidden_state
            logits = self.model.lm_head(hidden[:, :-1][learnt])
        each, weights = cross_entropy(logits.float(), targets[learnt], reduction="none"), weights[learnt]
        answers = each.detach()[weights >= 1]
        return (each * weights).sum() / weights.sum(), float(answers.mean()) if len(answers) else 0.0

    def embedded(self, batch: Batch) -> "torch.Tensor":
        """float32 (B, n, width): of words, and sums of words' where squares stand, brighter or fainter, with noise."""
        import torch

        table = self.model.get_input_embeddings()
        words = table(batch.ids)
        if not len(batch.squares):
            return words
        sums = batch.squares @ table.weight[self._words]
        gain, spread = torch.rand(2, len(batch.ids))[:, batch.rows, None]
        sums = sums * (0.7 + 0.7 * gain)
        sums = sums + torch.randn_like(sums) * sums.detach().std() * self.config.noise * spread
        return words.masked_scatter(batch.board[..., None].expand_as(words), sums)


def rate_at(step: int, steps: int) -> float:
    """Share of the learning rate: up, level, down to nearly nothing."""
    return min(1.0, step / min(_WARM, steps)) * min(1.0, (1 - step / steps) / _FALL + 0.01)


@contextmanager
def attending_in_float32() -> "Iterator[None]":
    """SDPA in float32 under bfloat16's autocast: its way back in bfloat16 takes far longer on a CPU."""
    import torch
    from torch.nn import functional

    kept = functional.scaled_dot_product_attention

    def attend(query: Any, key: Any, value: Any, **settings: Any) -> Any:
        with torch.autocast("cpu", enabled=False):
            return kept(query.float(), key.float(), value.float(), **settings).to(query.dtype)

    functional.scaled_dot_product_attention = attend
    try:
        yield
    finally:
        functional.scaled_dot_product_attention = kept


def train(config: TrainConfig, out: Path, start: Path | None = None) -> float:
    """Train and write the checkpoint to `out`; returns the seconds spent. `start`: a checkpoint to go on from."""
    found = language_data.documents(language_data.SCENES, config.scenes)
    if start is None:
        tokenizer = language_files.make_tokenizer(language_data.texts(found[:4_000]))
        model = language_files.new_model(tokenizer, config.seed)
    else:
        model, tokenizer = language_files.load(start)
    started = time.monotonic()
    language_files.write(out, Trainer(config, found, model, tokenizer).run(), tokenizer)
    return time.monotonic() - started


def main(
    out: Annotated[Path, typer.Option(help="Folder to write the checkpoint to.")],
    scenes: Annotated[int, typer.Option(help="That documents are about.")] = TrainConfig.scenes,
    steps: Annotated[int, typer.Option(help="Of 12 documents.")] = TrainConfig.steps,
    start: Annotated[Path | None, typer.Option(help="A checkpoint to go on from.")] = None,
    only_card: Annotated[bool, typer.Option(help="Measure an existing checkpoint, train nothing.")] = False,
) -> None:
    """Train the checkpoint, then measure it on held-out scenes and write its card."""
    config = TrainConfig(scenes=scenes, steps=steps)
    if not only_card:
        print(f"trained in {train(config, out, start):.0f} s", flush=True)
    measured = language_eval.card(out, config.held_out)
    language_files.write_card(out, measured)
    print(json.dumps(measured, indent=1))


if __name__ == "__main__":
    typer.run(main)
