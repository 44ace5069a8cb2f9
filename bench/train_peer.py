"""LLaVA's own way of training: transformers' Trainer, an example a row, padded to the batch's longest."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from schemas.train_loop import TrainConfig


@dataclass
class Examples:
    """A dataset: tokens and pixels of an example, made when it is asked for, in a worker."""

    encoder: Any
    pixels: Any
    talks: list[Any]

    def __len__(self) -> int:
        return len(self.talks)

    def __getitem__(self, at: int) -> dict[str, Any]:
        import torch

        example = self.encoder.encode(self.talks[at])
        values = self.pixels.tensors([self.pixels.decode(example.pictures)])["pixel_values"]
        ids, labels = torch.from_numpy(example.ids), torch.from_numpy(example.labels)
        return {"input_ids": ids, "labels": labels, "pixel_values": values}


@dataclass
class Account:
    """What each batch held and how long each step took."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    ended: float = field(default_factory=time.perf_counter)
    began: float = 0.0


def collated(examples: list[dict[str, Any]], pad: int) -> dict[str, Any]:
    """Padded to the right, with the mask that says so."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    ids = pad_sequence([one["input_ids"] for one in examples], batch_first=True, padding_value=pad)
    labels = pad_sequence([one["labels"] for one in examples], batch_first=True, padding_value=-100)
    lengths = torch.tensor([len(one["input_ids"]) for one in examples])
    mask = (torch.arange(ids.shape[1])[None] < lengths[:, None]).long()
    values = torch.cat([one["pixel_values"] for one in examples])
    return {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixel_values": values}


def trainer_steps(config: TrainConfig, asked: Any) -> list[dict[str, Any]]:
    """The account of each step of a run of transformers' Trainer."""
    from transformers import Trainer

    from pipelines.train.batches.example import Encoder
    from pipelines.train.loop.flops import work_of
    from pipelines.train.loop.pixels import pixels_of

    stage, built = config.stages[0], _learning(config)
    pixels = pixels_of(built)
    encoder = Encoder(built.tokenizer, pixels, stage.batches)
    talks = list(islice(_talks(config), (stage.steps or 1) * asked.rows))
    account, work = Account(), work_of(built)

    class Counted(Trainer):
        """Transformers' own, with an account of each batch."""

        def training_step(self, model: Any, inputs: dict[str, Any], *more: Any, **words: Any) -> Any:
            account.steps.append(_held(inputs, work))
            return super().training_step(model, inputs, *more, **words)

    with tempfile.TemporaryDirectory() as out:
        made = Counted(
            model=built.model,
            args=_settings(config, asked, out),
            train_dataset=Examples(encoder, pixels, talks),  # pyright: ignore[reportArgumentType]  it has what one has
            data_collator=lambda some: collated(some, encoder.pad_id),
            callbacks=[_watch(account, config.device == "cuda")],
        )
        account.ended = time.perf_counter()
        made.train()
    return account.steps


def _learning(config: TrainConfig) -> Any:
    """The model, frozen but for what learns, which is float32: as the loop has it."""
    from pipelines.train.freeze import freeze, trainable
    from pipelines.train.models import build

    assert config.model is not None
    built = freeze(build(config.model), config.stages[0].freeze, config.seed)
    named = dict(built.model.named_parameters())
    for name in trainable(built.model).parameters:
        named[name].data = named[name].data.float()
    return built


def _settings(config: TrainConfig, asked: Any, out: str) -> Any:
    from transformers import TrainingArguments

    stage, cuda = config.stages[0], config.device == "cuda"
    return TrainingArguments(
        output_dir=out,
        per_device_train_batch_size=asked.rows,
        max_steps=stage.steps or 1,
        learning_rate=stage.optim.lr,
        lr_scheduler_type="cosine",
        bf16=cuda,
        use_cpu=not cuda,
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        gradient_checkpointing=asked.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False} if asked.checkpointing else None,
        dataloader_num_workers=asked.workers,
        remove_unused_columns=False,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )


def _held(inputs: dict[str, Any], work: Any) -> dict[str, Any]:
    lengths = inputs["attention_mask"].sum(1)
    tokens, squares = int(lengths.sum()), len(inputs["pixel_values"])
    pictures = (work.per_square + work.per_look) * squares
    return {
        "tokens": tokens,
        "padding": inputs["input_ids"].numel() - tokens,
        "label_tokens": int((inputs["labels"] != -100).sum()),
        "examples": len(lengths),
        "flops": work.per_token * tokens + work.per_pair * float((lengths**2).sum()) + pictures,
    }


def _watch(account: Account, cuda: bool) -> Any:
    import torch
    from transformers import TrainerCallback

    def now() -> float:
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    class Watch(TrainerCallback):
        """A step begins when its batch is there."""

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            account.began = now()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            ended = now()
            account.steps[-1] |= {"seconds": ended - account.ended, "waited": account.began - account.ended}
            account.ended = ended

    return Watch()


def _talks(config: TrainConfig) -> Iterator[Any]:
    """The stream's conversations, in its order."""
    from pipelines.train.batches.talks import Streamed, Talk, talks_of
    from stages.stream.batches import BatchReader
    from stages.stream.topology import Topology
    from stages.stream.torch_stream import Stream

    stage = config.stages[0]
    stream = Stream(stage.data)
    settings = {"members": ["image", "txt", "json"], "decode": None, "drop_last": False}
    reader = BatchReader(stream.config.model_copy(update=settings), Topology(), 0, stream.sources)
    for read in reader:
        for i, (image, txt, document) in enumerate(zip(*(read.members[n] for n in settings["members"]), strict=True)):
            sample = Streamed(read.start + i, read.sample_id[i], 0, "data", bytes(image), bytes(document), bytes(txt))
            for talk in talks_of(sample, stage.batches, lambda source, name: None):
                if isinstance(talk, Talk):
                    yield talk
