"""Settings that contradict each other are refused; captions, words without pictures, several sources."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.train.batches.batches import Batches
from pipelines.train.batches.collate import Form, Shape, collated
from schemas.errors import WrongRequest
from schemas.stream import SourceConfig, StreamConfig
from schemas.train_batch import SKIPPED, BatchConfig, TextFrom, TrainReason, TrainRejection
from stages.stream.topology import Topology
from stages.stream.torch_stream import Stream
from tests.pipelines.talking import talk, talking
from tests.pipelines.train.batches.saying import example, pixels
from tests.pipelines.train.batches.tokenizers_of import tokenizer


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_length": 64, "row_length": 32}, "row_length 32 is less than max_length 64"),
        ({"tokens": 4096}, "arrange pack has no tokens"),
        ({"arrange": "pad", "row_length": 4096}, "arrange pad has no row_length"),
        ({"arrange": "group", "tokens": 100, "max_length": 128}, "tokens 100 is less than max_length 128"),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BatchConfig.model_validate(settings)


def test_every_rejection_has_columns_of_a_ledger() -> None:
    assert TrainRejection.columns() == ["position", "sample_id", "source", "number", "kind", "reason", "detail"]
    assert set(TrainReason) > SKIPPED


def run(config: BatchConfig, *builds: Path, state: dict[str, object] | None = None) -> Batches:
    sources = [SourceConfig(path=str(build)) for build in builds]
    stream = Stream(StreamConfig(sources=sources, window=2, batch=3))
    out = Batches(stream, tokenizer(), pixels(), config, Topology())
    if state is not None:
        out.load_state_dict(state)
    return out


def test_captions_align_a_projector(tmp_path: Path) -> None:
    talking(tmp_path / "build", [[] for _ in range(9)])
    config = BatchConfig(text=TextFrom.caption, template="plain", max_length=64, window=4, ahead=0)
    found = list(run(config, tmp_path / "build"))
    captions = [
        tokenizer().decode(batch.labels[s.row, s.start : s.stop][-s.label_tokens :])
        for batch in found
        for s in batch.segments
    ]
    assert sorted(captions) == sorted(f"caption {i}</s>" for i in range(9))


def test_words_without_a_picture_make_a_batch_without_pixels(tmp_path: Path) -> None:
    talking(tmp_path / "build", [[talk("how many?", f"{i}", images=[])] for i in range(3)])
    (batch,) = run(BatchConfig(max_length=128, ahead=0), tmp_path / "build")
    assert batch.pixels == {}
    assert batch.stats.examples == 3
    assert "pixel_values" not in batch.inputs(Form.positions)


def test_several_sources_keep_their_names_and_resume(tmp_path: Path) -> None:
    for name in ("one", "two"):
        said = [[talk("how many?", f"{name} {i} " + "three " * (i % 5))] for i in range(14)]
        talking(tmp_path / name, said, max_samples=5)
    config = BatchConfig(max_length=64, row_length=100, window=5, ahead=0)
    first = run(config, tmp_path / "one", tmp_path / "two")
    whole = list(first)
    by_source = [s.source for batch in whole for s in batch.segments]
    assert (by_source.count("one"), by_source.count("two")) == (14, 14)
    rest = list(run(config, tmp_path / "one", tmp_path / "two", state=first.state_dict(whole[2].after)))
    assert [batch.segments for batch in rest] == [batch.segments for batch in whole[3:]]


def test_the_length_of_reading_does_not_matter(tmp_path: Path) -> None:
    talking(tmp_path / "build", [[talk("how many?", "three " * i)] for i in range(1, 20)], max_samples=6)
    config = BatchConfig(max_length=64, row_length=100, window=5, ahead=0)
    sources = [SourceConfig(path=str(tmp_path / "build"))]
    found = [
        [b.segments for b in Batches(Stream(StreamConfig(sources=sources, batch=size)), tokenizer(), pixels(), config)]
        for size in (1, 4, 64)
    ]
    assert found[0] == found[1] == found[2]


def test_packed_rows_are_not_given_to_a_model_as_padded_ones() -> None:
    batch = collated([[example(5), example(6, position=1)]], Shape(0), {})
    with pytest.raises(WrongRequest, match="take form positions"):
        batch.inputs(Form.padded)
