"""Shards load with the readers that people have: webdataset and Hugging Face datasets, offline."""

import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pytest

from stages.store import Store
from tests.builders import png, sample, sid
from tests.finished import index_of, recipe, rewrite, selected, sharded


@pytest.fixture
def store(tmp_path: Path) -> Store:
    samples = [sample(i, caption=f"caption of {i}", extra='{"licence":"none"}') for i in range(10)]
    return sharded(selected(tmp_path / "build", samples), recipe(max_samples=6))


def test_webdataset_reads_every_sample_in_order(store: Store, tmp_path: Path) -> None:
    import webdataset

    urls = [str(tmp_path / "build/shards" / f"train-00000{i}.tar") for i in (0, 1)]
    read = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8"))
    assert [row["__key__"] for row in read] == [row["key"] for row in index_of(store)]
    for row in read:
        assert row["png"].shape == (16, 16, 3)
        assert row["txt"] == row["json"]["caption"] == f"caption of {int(row['__key__'], 16)}"
        assert row["json"]["extra"] == {"licence": "none"}


def test_hugging_face_datasets_reads_every_sample(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    import datasets

    files = str(tmp_path / "build/shards/train-*.tar")
    read = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path / "cache")
    )
    assert sorted(read["__key__"]) == [sid(i) for i in range(10)]
    first = read[0]
    number = int(first["__key__"], 16)
    assert first["png"].size == (16, 16)
    assert first["json"]["caption"] == first["txt"] == f"caption of {number}"
    assert first["json"]["stored_sha256"] == hashlib.sha256(png(number)).hexdigest()


def test_hugging_face_datasets_reads_mixed_formats_and_rare_columns_given_the_features(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left to guess types, `datasets` looks at five samples and fails on a column that was null in all of them."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, "WEBP")
    samples = [sample(i, **({"language": "fr", "image": out.getvalue()} if i == 7 else {})) for i in range(12)]
    store = selected(tmp_path / "build", samples)
    index = store.read_table("parts/00001.parquet")
    members = [f"{s}.webp" if s == sid(7) else f"{s}.png" for s in index["sample_id"].to_pylist()]
    at = index.column_names.index("member")
    rewrite(store, "parts/00001.parquet", index.set_column(at, index.schema.field("member"), pa.array(members)))
    sharded(store, recipe(max_samples=100))
    text = datasets.Value("string")
    features = datasets.Features(
        {"png": datasets.Image(), "webp": datasets.Image(), "json": datasets.Json(), "txt": text, "__key__": text}
        | {"__url__": text}
    )
    files = str(tmp_path / "build/shards/train-*.tar")
    read = datasets.load_dataset(
        "webdataset", data_files={"train": files}, split="train", cache_dir=str(tmp_path / "cache"), features=features
    )
    by_key = {row["__key__"]: row for row in read}
    assert len(by_key) == 12
    assert by_key[sid(7)]["webp"].size == (8, 8)
    assert by_key[sid(7)]["json"]["language"] == "fr"
    assert by_key[sid(6)]["webp"] is None
    assert by_key[sid(6)]["json"]["language"] is None
