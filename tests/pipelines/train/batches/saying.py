"""Samples, conversations and examples, put together by hand."""

import json
from typing import Any

import numpy as np

from pipelines.train.batches.encode import IGNORED
from pipelines.train.batches.example import Encoder, Example
from pipelines.train.batches.images import SquarePixels
from pipelines.train.batches.talks import Said, Streamed, Talk, talks_of
from pipelines.train.batches.truncate import Run
from schemas.conversation import Conversation
from schemas.stream import DecodeConfig
from schemas.train_batch import BatchConfig, TrainRejection
from tests.builders import sid
from tests.pipelines.talking import jpeg, talk

CONFIG = BatchConfig()


def nowhere(source: int, sample_id: str) -> Any | None:
    """No other sample's picture is anywhere."""
    return None


def pixels(tokens: int = 4, side: int = 8) -> SquarePixels:
    return SquarePixels(tokens, DecodeConfig(size=side, threads=1))


def streamed(*said: Conversation, number: int = 0, **members: Any) -> Streamed:
    """Sample `number` with these conversations."""
    document = json.dumps({"conversations": [one.model_dump(mode="json") for one in said]}).encode()
    whole = {"image": jpeg(number), "json": document, "txt": f"caption {number}".encode()} | members
    return Streamed(number, sid(number), 0, "build", **whole)


def read(*said: Conversation, config: BatchConfig = CONFIG, find: Any = nowhere, **members: Any) -> list[Any]:
    """What `talks_of` makes of a sample with these conversations."""
    return list(talks_of(streamed(*said, **members), config, find))


def reason(*said: Conversation, **more: Any) -> str:
    """Of the only rejection."""
    (found,) = read(*said, **more)
    assert isinstance(found, TrainRejection), found
    return found.reason


def encoded(tokenizer: Any, *texts: str, config: BatchConfig = CONFIG, image_tokens: int = 4, **more: Any) -> Any:
    """The example (or rejection) of question, answer, question …"""
    (found,) = read(talk(*texts, **more), config=config)
    assert isinstance(found, Talk), found
    return Encoder(tokenizer, pixels(image_tokens), config).encode(found)


def answers(tokenizer: Any, example: Example) -> list[str]:
    """Runs of labelled tokens, decoded."""
    wanted = np.concatenate([[0], (example.labels != IGNORED).astype(int), [0]])
    starts, stops = np.flatnonzero(np.diff(wanted) == 1), np.flatnonzero(np.diff(wanted) == -1)
    return [tokenizer.decode(example.labels[a:b].tolist()) for a, b in zip(starts, stops, strict=True)]


def example(length: int, position: int = 0, seed: int = 0, vocabulary: int = 64, number: int = 0) -> Example:
    """Random tokens, the second half of them learnt; no pictures."""
    dice = np.random.default_rng((seed, position, number))
    ids = dice.integers(3, vocabulary, length)
    labels = np.where(np.arange(length) >= max(1, length // 2), ids, IGNORED)
    turns = (Said("user", ("a",)), Said("assistant", ("b",)))
    sample = Streamed(position, sid(position), 0, "build", None, None, None)
    return Example(Talk(sample, number, "vqa", turns, ()), ids, labels, list[Run](), (), 0)
