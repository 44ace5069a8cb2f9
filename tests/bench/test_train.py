"""What the benchmarks of training are given: real conversations, real sizes, rows padded as they should be."""

import random
from pathlib import Path

import pytest
import torch

from bench import features, train
from bench.train_data import _document
from bench.train_parts import byte_tokenizer
from bench.train_peer import collated
from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.talks import Streamed, Talk, talks_of
from schemas.train_batch import BatchConfig


def test_every_conversation_can_be_learnt_from() -> None:
    dice = random.Random(3)
    kinds = set[str]()
    for i in range(200):
        sample = Streamed(i, f"{i:032x}", 0, "data", b"\xff", _document(dice), b"text")
        (found,) = talks_of(sample, BatchConfig(), lambda source, name: None)
        assert isinstance(found, Talk), found
        kinds.add(found.kind)
    assert kinds == {"vqa", "description", "conversation"}


def test_a_byte_is_a_token_and_nothing_is_lost() -> None:
    words, text = byte_tokenizer(), "USER:  a b\n\nc é 猫</s>"
    ids = words(text, add_special_tokens=False)["input_ids"]
    assert words.decode(ids) == text
    assert len(ids) == len("USER:  a b\n\nc é 猫".encode()) + 1


def test_rows_are_padded_to_the_right_with_a_mask() -> None:
    def one(length: int) -> dict[str, torch.Tensor]:
        ids = torch.arange(1, length + 1)
        return {"input_ids": ids, "labels": ids.clone(), "pixel_values": torch.full((1, 3, 2, 2), float(length))}

    found = collated([one(2), one(4)], pad=9)
    assert found["input_ids"].tolist() == [[1, 2, 9, 9], [1, 2, 3, 4]]
    assert found["labels"][0].tolist() == [1, 2, IGNORED, IGNORED]
    assert found["attention_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    assert found["pixel_values"].shape == (2, 3, 2, 2)


@pytest.mark.parametrize("arrange", ["pack", "pad"])
def test_configurations_are_right(tmp_path: Path, arrange: str) -> None:
    found = train._config(
        train._arguments(["--stage", "lora", "--device", "cuda", "--checkpointing"]), tmp_path, arrange
    )
    assert found.stages[0].freeze.train == "lora"
    assert (found.model.precision, found.gradient_checkpointing) == ("bf16", True)
    kept = features._config(features._arguments([]), tmp_path, str(tmp_path / "kept"))
    assert kept["stages"][0]["features"] == {"folder": str(tmp_path / "kept")}
