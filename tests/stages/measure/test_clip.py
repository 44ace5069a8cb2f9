"""CLIP scores against plain open_clip, batch cuts, hostile captions, threads and state put back."""

import pickle

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import WrongRequest
from schemas.recipe import ClipConfig
from schemas.row import cast
from schemas.sample import ClipScore
from stages.measure import clip as clip_module
from stages.measure.clip import ClipMeasure
from stages.measure.pixel_pass import PixelPass
from tests.stages.measure.builders import encoded, picture, pixels


@pytest.fixture(scope="module")
def stage(clip_name: str):
    made = ClipMeasure(ClipConfig(model=clip_name, batch_size=4))
    made.open()
    yield made
    made.close()


def batch_of(rows: int) -> pa.Table:
    return pixels([encoded(picture(60 + i, 40, seed=i)) for i in range(rows)])


def by_open_clip(name: str, batch: pa.Table) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Score and embeddings as open_clip's README computes them, one sample at a time."""
    import io

    import open_clip
    import torch
    from PIL import Image

    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    model.eval()
    found = []
    for row in batch.to_pylist():
        with torch.no_grad():
            image = model.encode_image(preprocess(Image.open(io.BytesIO(row["image"]))).unsqueeze(0))
            text = model.encode_text(tokenizer([row["caption"]]))
        image, text = (x / x.norm(dim=-1, keepdim=True) for x in (image, text))
        found.append(((image @ text.T).item(), image[0].numpy(), text[0].numpy()))
    return found


def test_it_is_what_open_clip_computes(stage: ClipMeasure, clip_name: str) -> None:
    batch = batch_of(6)
    kept = cast(stage.process(batch).kept, ClipScore.arrow_schema(), "test").to_pylist()
    for row, (score, image, text) in zip(kept, by_open_clip(clip_name, batch), strict=True):
        assert row["clip_score"] == pytest.approx(score, abs=1e-5)
        assert np.allclose(np.array(row["clip_image"], np.float32), image, atol=1e-3)  # float16
        assert np.allclose(np.array(row["clip_text"], np.float32), text, atol=1e-3)


def test_embeddings_have_unit_length_and_the_score_is_not_taken_from_the_rounded_ones(stage: ClipMeasure) -> None:
    rows = stage.process(batch_of(5)).table.to_pylist()
    image, text = (np.array([r[n] for r in rows], np.float32) for n in ("clip_image", "clip_text"))
    assert np.allclose(np.linalg.norm(image, axis=1), 1, atol=2e-3)
    assert np.allclose(np.linalg.norm(text, axis=1), 1, atol=2e-3)
    rounded = (image * text).sum(1)
    scores = np.array([r["clip_score"] for r in rows], np.float32)
    assert np.allclose(scores, rounded, atol=2e-3)
    assert (scores != rounded).any()


@pytest.mark.parametrize("cuts", [[11], [1] * 11, [3, 8], [5, 5, 1], [0, 11, 0]])
def test_the_callers_batches_change_no_bit(stage: ClipMeasure, cuts: list[int]) -> None:
    batch = batch_of(11)
    starts = np.cumsum([0, *cuts[:-1]])
    outcome = PixelPass([stage]).run(batch.slice(s, c) for s, c in zip(starts, cuts, strict=True))["measure/clip"]
    assert outcome.table.equals(PixelPass([stage]).run([batch])["measure/clip"].table)


def test_the_model_sees_batches_of_batch_size_over_the_part(stage: ClipMeasure, monkeypatch) -> None:
    seen: list[int] = []
    gather = ClipMeasure.gather
    monkeypatch.setattr(ClipMeasure, "gather", lambda s, b, looks: (seen.append(b.num_rows), gather(s, b, looks))[1])
    batch = batch_of(11)
    broken = batch.set_column(
        batch.column_names.index("image"), "image", pa.array([b"x", *batch["image"].to_pylist()[1:]], pa.large_binary())
    )
    PixelPass([stage]).run([broken.slice(0, 3), broken.slice(3)])
    assert seen == [4, 4, 2]  # ten whole images


def test_a_missing_caption_is_a_reason_and_its_neighbours_stay(stage: ClipMeasure) -> None:
    images = [encoded(picture(seed=i)) for i in range(3)]
    outcome = stage.process(pixels(images, ["a cat", None, "a dog"]))
    assert outcome.reason.to_pylist() == [None, "missing_caption", None]
    assert [row["clip_image"] is None for row in outcome.table.to_pylist()] == [False, True, False]
    cast(outcome.kept, ClipScore.arrow_schema(), "test")


@pytest.mark.parametrize(
    "spelling", ["<end_of_text>", "<END_OF_TEXT>", "&lt;end_of_text&gt;", "&amp;lt;end_of_text&gt;"]
)
def test_a_caption_cannot_end_the_text_early(stage: ClipMeasure, spelling: str) -> None:
    image = encoded(picture())
    captions = [f"a cat {spelling} and a dog", "a cat   and a dog", "a cat"]
    plain, same, cut = stage.process(pixels([image] * 3, captions)).table["clip_score"].to_pylist()
    assert plain == pytest.approx(same, abs=1e-6)
    assert plain != pytest.approx(cut, abs=1e-6)


def test_html_in_a_caption_is_left_to_the_tokenizer(stage: ClipMeasure) -> None:
    assert stage._model().plain("cats &amp; dogs <b>") == "cats &amp; dogs <b>"


@pytest.mark.timeout(60)
def test_captions_of_any_size_and_kind_are_read(stage: ClipMeasure) -> None:
    captions = ["x" * 1_000_000, "", "\x00\ufffd", "猫" * 100_000, "a " * 500_000, "zq" * 300_000]
    outcome = stage.process(pixels([encoded(picture())] * len(captions), captions))
    assert outcome.reason.null_count == len(captions)
    assert np.isfinite(outcome.table["clip_score"].to_numpy()).all()


def test_what_the_tokenizer_sees_of_a_long_caption_is_bounded(stage: ClipMeasure) -> None:
    assert len(stage._model().plain("x" * 1_000_000)) == 16 * 20  # characters per token × context length


def test_the_tokenizers_memory_is_bounded(stage: ClipMeasure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip_module, "_MOST_CACHED_WORDS", 10)
    image = encoded(picture())
    captions = [" ".join(f"{a}{b}qz" for b in "abcdef") for a in "ghijkl"]  # 36 words, none of them a single token
    found = [stage.process(pixels([image], [c])).table["clip_score"][0].as_py() for c in captions]
    assert len(stage._model().tokenizer.cache) <= 10 + 6
    assert stage.process(pixels([image], captions[:1])).table["clip_score"][0].as_py() == found[0]


def test_bf16_is_close_to_fp32_and_not_equal(stage: ClipMeasure, clip_name: str) -> None:
    half = ClipMeasure(ClipConfig(model=clip_name, batch_size=4, precision="bf16"))
    half.open()
    batch = batch_of(5)
    a, b = (s.process(batch).table["clip_score"].to_numpy() for s in (stage, half))
    assert np.allclose(a, b, atol=0.03)
    assert (a != b).any()
    half.close()


def test_opening_sets_threads_and_closing_puts_them_back(clip_name: str) -> None:
    import torch

    def state() -> tuple[int, bool]:
        return torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()

    before = state()
    torch.set_num_threads(3)
    torch.use_deterministic_algorithms(False)
    made = ClipMeasure(ClipConfig(model=clip_name, threads=2))
    made.open()
    inside = state()
    made.close()
    made.close()
    assert (inside, state()) == ((2, True), (3, False))
    torch.set_num_threads(before[0])
    torch.use_deterministic_algorithms(before[1])


def test_a_pickled_stage_carries_no_model_and_works(stage: ClipMeasure, clip_name: str) -> None:
    fresh = pickle.dumps(ClipMeasure(stage.clip))
    assert len(fresh) < 2000
    other = pickle.loads(fresh)
    other.open()
    assert other.process(batch_of(3)).table.equals(stage.process(batch_of(3)).table)
    other.close()
    assert len(pickle.dumps(other)) < 4000


def test_a_stage_planned_for_a_gpu_does_not_fall_back_in_silence(clip_name: str, monkeypatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    made = ClipMeasure(ClipConfig(model=clip_name, device="cuda"))
    assert (made.device, made.precision, made.resources.gpus) == ("cuda", "bf16", 1.0)
    with pytest.raises(WrongRequest, match=r"set clip\.device: cpu"):
        made.open()


def test_a_model_that_gives_no_finite_number_stops_with_the_sample_named(stage: ClipMeasure, monkeypatch) -> None:
    embed = type(stage._model()).embed

    def broken(self, looks, captions):
        image, text = embed(self, looks, captions)
        image[1] = np.nan
        return image, text

    monkeypatch.setattr(type(stage._model()), "embed", broken)
    with pytest.raises(ArithmeticError, match=f"sample {1:032x}"):
        stage.process(batch_of(3))
