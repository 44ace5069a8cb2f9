"""The pass: one decode per image, every measure in order, bad images beside good ones, bounded read-ahead."""

import pickle
import threading
import time
from enum import StrEnum

import pyarrow as pa
import pytest

from schemas.errors import WrongRequest
from schemas.recipe import CaptionConfig, ImageConfig, PdqConfig
from schemas.row import cast, nullable
from stages.base import Stage
from stages.measure import pixel_pass
from stages.measure.base import MeasureReason
from stages.measure.caption import CaptionMeasure
from stages.measure.decode import Decoded
from stages.measure.image import ImageMeasure
from stages.measure.pdq import PdqMeasure
from stages.measure.pixel_pass import PixelPass
from stages.measure.registry import MEASURES, make
from tests.stages.measure.builders import encoded, picture, pixels


def measures() -> list[Stage]:
    return [ImageMeasure(ImageConfig()), CaptionMeasure(CaptionConfig()), PdqMeasure(PdqConfig())]


def mixed(rows: int = 150) -> pa.Table:
    """Every seventh image is broken; width encodes the row."""
    return pixels([b"broken" if i % 7 == 3 else encoded(picture(20 + i, 16, seed=i)) for i in range(rows)])


@pytest.mark.parametrize("cuts", [[150], [1, 149], [64, 64, 22], [50, 0, 100]])
def test_rows_keep_their_order_and_their_number(cuts: list[int]) -> None:
    table = mixed()
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    found = PixelPass(measures()).run(table.slice(s, c) for s, c in zip(starts, cuts, strict=True))
    for outcome in found.values():
        assert outcome.table["sample_id"].to_pylist() == table["sample_id"].to_pylist()
    widths = found["measure/image"].table["image_width"].to_pylist()
    assert widths == [None if i % 7 == 3 else 20 + i for i in range(150)]
    assert found["measure/caption"].reason.null_count == 150
    reasons = found["measure/pdq"].reason.to_pylist()
    assert reasons == ["undecodable" if i % 7 == 3 else None for i in range(150)]
    assert found["measure/pdq"].detail.to_pylist()[3] == "no image in a known format"


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_threads_change_nothing(threads: int) -> None:
    expected = PixelPass(measures(), threads=1).run([mixed(40)])
    found = PixelPass(measures(), threads=threads).run([mixed(40)])
    assert {n: o.table for n, o in found.items()} == {n: o.table for n, o in expected.items()}


def test_each_image_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    decode = pixel_pass.decode
    monkeypatch.setattr(pixel_pass, "decode", lambda data, *rest: (seen.append(len(data)), decode(data, *rest))[1])
    PixelPass([*measures(), ImageMeasure(ImageConfig())]).run([mixed(20)])
    assert len(seen) == 20


def test_without_a_pixel_measure_nothing_is_decoded_and_no_image_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_pass, "decode", None)
    batch = mixed(5).drop_columns(["image", "orientation"])
    found = PixelPass([CaptionMeasure(CaptionConfig())]).run([batch])
    assert found["measure/caption"].table["caption_words"].to_pylist() == [3] * 5


@pytest.mark.parametrize("batches", [[], [mixed(0)]])
def test_no_rows(batches: list[pa.Table]) -> None:
    for stage, outcome in zip(measures(), PixelPass(measures()).run(batches).values(), strict=True):
        assert outcome.table.num_rows == 0
        cast(outcome.table, nullable(stage.emits.arrow_schema()), "test")


def test_all_images_broken() -> None:
    found = PixelPass(measures()).run([pixels([b"", b"x"])])
    assert found["measure/image"].reason.to_pylist() == ["undecodable"] * 2
    assert found["measure/image"].table["image_width"].null_count == 2


class Explodes(ImageMeasure):
    """Raises on the image that is 33 pixels wide."""

    def look(self, image: Decoded):
        if image.rgb.shape[1] == 33:
            raise ZeroDivisionError("a bug")
        return super().look(image)


def test_a_bug_in_a_measure_propagates_with_the_sample_named() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        PixelPass([Explodes(ImageConfig())]).run([mixed()])
    assert any(f"{13:032x}" in note for note in caught.value.__notes__)


def test_nothing_is_left_running_after_a_bug() -> None:
    with pytest.raises(ZeroDivisionError):
        PixelPass([Explodes(ImageConfig())]).run([mixed()])
    assert not [t for t in threading.enumerate() if t.name.startswith("decode")]


class Slow(ImageMeasure):
    """Takes its time in the main thread, and remembers how far ahead the reader was."""

    def __init__(self, read: list[int]) -> None:
        super().__init__(ImageConfig())
        self.read, self.ahead, self.rows = read, 0, 0

    def gather(self, batch: pa.Table, looks):
        time.sleep(0.005)
        self.ahead = max(self.ahead, len(self.read) - self.rows)
        self.rows += batch.num_rows
        return super().gather(batch, looks)


def test_reading_ahead_is_bounded() -> None:
    read: list[int] = []

    def batches():
        for i in range(100):
            read.append(i)
            yield one

    one = pixels([encoded(picture())])
    slow = Slow(read)
    PixelPass([slow]).run(batches())
    assert slow.rows == 100
    assert slow.ahead <= 3


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_pass, "_LARGE", 48 * 32)
    now, most, sizes = set(), [0], []

    class Watches(ImageMeasure):
        def look(self, image: Decoded):
            large = image.rgb.shape[:2] != (32, 48)
            now.add(threading.get_ident()) if large else None
            most[0] = max(most[0], len(now))
            time.sleep(0.01)
            now.discard(threading.get_ident())
            sizes.append(large)
            return super().look(image)

    images = [encoded(picture(48, 32 + i % 2, seed=i)) for i in range(40)]
    found = PixelPass([Watches(ImageConfig())], threads=4).run([pixels(images)])
    assert found["measure/image"].table["image_height"].to_pylist() == [32 + i % 2 for i in range(40)]
    assert (most[0], sum(sizes)) == (1, 20)


def test_the_pixel_cap_is_the_callers() -> None:
    data = encoded(picture(48, 32))
    found = PixelPass(measures(), max_pixels=1000).run([pixels([data])])
    assert found["measure/image"].detail.to_pylist() == ["48x32 is more pixels than 1000"]


def test_a_pass_travels_before_open_and_after_close() -> None:
    passing = pickle.loads(pickle.dumps(PixelPass(measures())))
    passing.open()
    before = passing.run([mixed(10)])
    passing.close()
    again = pickle.loads(pickle.dumps(passing))
    again.open()
    assert again.run([mixed(10)])["measure/pdq"].table == before["measure/pdq"].table


def test_process_is_the_pass_for_one_batch() -> None:
    stage = PdqMeasure(PdqConfig())
    assert stage.process(mixed(30)).table == PixelPass([stage]).run([mixed(30)])["measure/pdq"].table


def test_registry_names_are_stage_names_and_reasons_are_closed() -> None:
    assert [stage.name for stage in MEASURES.values()] == [f"measure/{name}" for name in MEASURES]
    assert all(issubclass(stage.reasons, StrEnum) and stage.reasons is MeasureReason for stage in MEASURES.values())
    with pytest.raises(WrongRequest, match="there is no measure 'sharpness'; measures are: image, caption, pdq, clip"):
        make("sharpness", ImageConfig())
