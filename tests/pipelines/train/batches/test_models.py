"""Batches for the models that they are made for: as many image tokens as there are features, whatever the picture."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.collate import Form
from pipelines.train.batches.images import ModelPixels
from pipelines.train.batches.loss import label_loss
from schemas.stream import SourceConfig, StreamConfig
from schemas.train import AnyresConfig
from schemas.train_batch import BatchConfig
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.builders import sid
from tests.pipelines.talking import talk, talking


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Seven samples with pictures of 24 × 24 … 24 × 30 pixels, one conversation over two of them, one without any."""
    said = [[talk("what is it ?", "red")] for _ in range(7)]
    said[2].append(talk("<image> or <image> ?", "blue", kind="interleaved", images=[sid(2), sid(6)]))
    said[4].append(talk("what ?", "no", images=[]))
    url = tmp_path_factory.mktemp("models") / "build"
    talking(url, said, max_samples=4)
    return str(url)


def losses(build: str, built: Any, **settings: Any) -> tuple[list[float], int]:
    """Of each batch, not divided; and how many image tokens there were."""
    config = BatchConfig(max_length=400, ahead=0, **settings)
    stream = Stream(StreamConfig(sources=[SourceConfig(path=build)], window=2))
    batches = list(Batches(stream, built.tokenizer, ModelPixels(built, "test", threads=1), config, Topology()))
    out = list[float]()
    for batch in batches:
        inputs = batch.inputs(Form.positions)
        labels = inputs.pop("labels")
        with torch.no_grad():
            out.append(label_loss(built.model.eval()(**inputs).logits, labels, 1).item())
    return out, sum(batch.stats.image_tokens for batch in batches)


@pytest.mark.parametrize("family", ["llava", "llava_next", "llava_onevision"])
def test_a_model_finds_as_many_features_as_tokens(build: str, builder: Callable[..., Any], family: str) -> None:
    """A stock model refuses another number. Packed with others or alone, an example's loss is the same."""
    more = {} if family == "llava" else {"anyres": AnyresConfig(grids=[(1, 2), (2, 1)], most=2)}
    built = builder(family=family, **more)
    packed, tokens = losses(build, built, row_length=1000, rows=2)
    alone, same = losses(build, built, arrange="pad", rows=1)
    assert tokens == same > 0
    assert (len(packed), len(alone)) == (1, 9)
    assert packed[0] == pytest.approx(sum(alone), rel=1e-4)
