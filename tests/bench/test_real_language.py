"""The real language model's benchmark, as far as it needs no real one: who learns what, who is held out, and the chain
with the sample web's small model in its place."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import harness
from bench import real_language as bench
from bench.photos import Photo
from bench.real_language_data import Shown, pools, vocabulary

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def shown(number: int, captions: int) -> Shown:
    said = tuple(f"picture {number} in words {i}" for i in range(captions))
    return Shown(Photo(f"{number}.jpg", None, "", b""), said, ({"label": "cat" if number % 2 else "bus"},))


def test_no_picture_is_both_learnt_from_and_held() -> None:
    found = pools([shown(i, 5 if i < 20 else 0) for i in range(30)], held=4)
    pictures = {name: {row.shown.photo.picture for row in rows} for name, rows in found.items()}
    assert {name: len(one) for name, one in pictures.items()} == {"captioned": 16, "boxed": 10, "held": 4}
    assert len(set.union(*pictures.values())) == 30
    assert [len(found[name]) for name in ("captioned", "boxed", "held")] == [80, 10, 4]
    assert {row.caption for row in found["boxed"]} == {"a photograph of cat", "a photograph of bus"}


def test_every_label_can_be_decided() -> None:
    assert vocabulary([shown(0, 1), shown(1, 1), shown(2, 0)]) == ["bus", "cat"]


@pytest.mark.parametrize(("count", "tenths"), [(3, (0.0, 2.0)), (40, (1.5, 37.5))])
def test_a_tenth_is_one_step_at_least(count: int, tenths: tuple[float, float]) -> None:
    assert bench.tenths([float(i) for i in range(count)]) == tenths


def test_shown_elsewhere_every_picture_is_another() -> None:
    import io

    from PIL import Image

    encoded = []
    for level in (10, 90, 200):
        out = io.BytesIO()
        Image.new("RGB", (20, 16), (level, level, level)).save(out, "PNG")
        encoded.append(out.getvalue())
    other = bench.others(encoded)
    found = {int(np.frombuffer(key[-3:], np.uint8)[0]): int(picture[0, 0, 0]) for key, picture in other.items()}
    assert found == {10: 90, 90: 200, 200: 10}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(not (SHARED / "photos.parquet").exists(), reason="real photographs (../shared/data) are not here")
def test_the_whole_way_with_a_small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    small = bench.TOWER.with_name("language")
    options = ["--language", str(small), "--precision", "fp32", "--limit", "8", "--held", "2"]
    options += ["--align-steps", "3", "--instruct-steps", "3", "--rows", "4"]
    bench.run(["--data", str(SHARED), "--folder", str(tmp_path / "run"), *options])
    found = json.loads((tmp_path / "real_language.json").read_text())
    assert [(row["stage"], row["steps"]) for row in found["rows"]] == [("align", 3), ("instruct", 3)]
    for row in found["rows"]:
        assert 0 < row["learns"] < row["of values"]
        assert row["after"] != row["other picture"]
    told = found["facts"]["saved model in a fresh process"]
    assert "LlavaForConditionalGeneration" in told
    assert "0 missing_keys, 0 unexpected_keys, 0 mismatched_keys" in told
    assert told.endswith("modules of this project loaded there: 0; same words as here: 2 of 2")
