"""Tars of others: read as `webdataset` reads them, or refused with the place named; never half."""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import tarfile
from pathlib import Path

import pytest
import webdataset
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.tariterators import base_plus_ext

from schemas.errors import WrongData
from stages.pool.ids import of_member
from stages.stream import headers
from stages.stream.foreign import Scanned, scan, split_name
from stages.stream.members import IMAGE, ShardIndex
from tests.stages.stream.tars import by_index, by_webdataset, img2dataset_members, tar_of

LONG = "a folder/" + "deep/" * 30 + "k" * 120
DEEP = "/".join(["d" * 40] * 4) + "/key"
NAMES = [
    "7.jpg",
    "7.cls.txt",
    "x/7.jpg",
    "x/7.TXT",
    "./8.json",
    "v1.2/9.seg.png",
    "v1.2/9.",
    "ключ/é.webp",
    f"{LONG}.jpg",
]
SAMPLES = [(name, f"{i} {name}".encode() * (i + 1)) for i, name in enumerate(NAMES)]
SAMPLES += [(f"{LONG}.json", b"{}"), ("empty.jpg", b""), ("block.txt", b"b" * 512)]


def scanned(data: bytes, shard: str = "a/0.tar") -> Scanned:
    return scan(io.BytesIO(data), shard)


def refused(data: bytes) -> str:
    with pytest.raises(WrongData) as caught:
        scanned(data)
    said = str(caught.value)
    assert said.startswith("a/0.tar"), said
    return said


@pytest.mark.parametrize("fmt", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
@pytest.mark.parametrize("block", [8 << 20, 700], ids=["one block", "many blocks"])
def test_every_byte_is_what_webdataset_yields(
    fmt: int, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(headers, "BLOCK", block)
    data = tar_of(SAMPLES, fmt, pax_headers={"comment": "global"} if fmt == tarfile.PAX_FORMAT else None)
    (tmp_path / "t.tar").write_bytes(data)
    found = scanned(data)
    samples = by_index(found.table, data)
    assert samples == by_webdataset(tmp_path / "t.tar")
    assert [m for _, one in samples for m in one.values()] == [d for _, d in SAMPLES]
    assert (found.bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def test_ustar_prefix(tmp_path: Path) -> None:
    data = tar_of([(f"{DEEP}.jpg", b"1"), (f"{DEEP}.txt", b"2")], tarfile.USTAR_FORMAT)
    (tmp_path / "t.tar").write_bytes(data)
    assert (
        by_index(scanned(data).table, data) == by_webdataset(tmp_path / "t.tar") == [(DEEP, {"jpg": b"1", "txt": b"2"})]
    )


def test_written_by_webdataset(tmp_path: Path) -> None:
    with webdataset.TarWriter(str(tmp_path / "t.tar")) as sink:  # pyright: ignore[reportPrivateImportUsage]
        for i in range(20):
            sink.write({"__key__": f"f/{i:04d}", "jpg": b"\xff\xd8" + bytes([i]) * i * 90, "json": {"n": i}, "cls": i})
    data = (tmp_path / "t.tar").read_bytes()
    found = scanned(data)
    assert by_index(found.table, data) == by_webdataset(tmp_path / "t.tar")
    assert found.endings == {"cls": 20, "jpg": 20, "json": 20} and not found.without_image


def test_a_file_that_comes_in_drops() -> None:
    class Drops(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(min(size or 0, 100))

    data = tar_of(SAMPLES, tarfile.PAX_FORMAT)
    assert scan(Drops(data), "a/0.tar") == scanned(data)


@given(st.text(st.sampled_from("ab./_\nÉ"), min_size=1, max_size=12) | st.text(max_size=8))
def test_names_split_as_webdataset_splits_them(name: str) -> None:
    key, ending = base_plus_ext(name)
    metadata = webdataset.tariterators.re.match(r"__[^/]*__($|/)", name)  # pyright: ignore[reportAttributeAccessIssue]
    assert split_name(name) == (None if key is None or metadata else (key, ending.lower()))


def test_what_is_no_sample_is_passed_over_and_counted(tmp_path: Path) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        kinds = {
            "d.jpg": tarfile.DIRTYPE,
            "l.jpg": tarfile.SYMTYPE,
            "h.jpg": tarfile.LNKTYPE,
            "p.jpg": tarfile.FIFOTYPE,
        }
        for name, kind in kinds.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "1.jpg"
            tar.addfile(info)
        for name in ("__index__", "__meta__/1.jpg", "LICENSE", "1.jpg", "__1.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    (tmp_path / "t.tar").write_bytes(out.getvalue())
    found = scanned(out.getvalue())
    assert by_index(found.table, out.getvalue()) == by_webdataset(tmp_path / "t.tar")
    assert found.table["key"].to_pylist() == ["1", "__1"] and found.ignored == 3


def test_empty_tar() -> None:
    found = scanned(tar_of([]))
    assert found.table.num_rows == 0 and not found.endings and not found.without_image
    assert len(ShardIndex.of_folder(found.table)) == 0


def test_the_picture_and_samples_without_one() -> None:
    data = tar_of(
        [("1.txt", b"t"), ("1.seg.png", b"p"), ("1.jpg", b"j"), ("2.txt", b"t"), ("3.JPEG", b"J"), ("4.mp4", b"")]
    )
    found = scanned(data)
    assert found.without_image == 2
    places = ShardIndex.of_folder(found.table).places(IMAGE)
    assert [data[o : o + s] for o, s in zip(places.offsets, places.sizes, strict=True) if s >= 0] == [b"p", b"J"]


OWN = "0123456789abcdef" * 2
DOCUMENTS = {
    "ours": (json.dumps({"caption": "c", "sample_id": OWN}), OWN),
    "not hex": (json.dumps({"sample_id": "g" * 32}), None),
    "a number": ('{"sample_id": 5}', None),
    "inside": (json.dumps({"extra": {"sample_id": OWN}}), None),
    "no object": (f'["sample_id", "{OWN}"]', None),
    "not JSON": (f'{{"sample_id": "{OWN}"', None),
    "too deep": ('{"sample_id": ' + "[" * 200_000, None),
    "others' ids": (json.dumps({"key": OWN, "uid": OWN, "sha256": OWN}), None),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_sample_id(case: str) -> None:
    document, own = DOCUMENTS[case]
    data = tar_of([("x/1.jpg", b""), ("x/1.json", document.encode()), ("x/2.jpg", b"")])
    ids = scanned(data).table["sample_id"].to_pylist()
    assert ids == [own or of_member("a/0.tar", "x/1"), of_member("a/0.tar", "x/2")]


def test_same_key_in_another_tar_is_another_sample() -> None:
    data = tar_of([("1.jpg", b"")])
    assert scanned(data, "a.tar").table["sample_id"] != scanned(data, "b.tar").table["sample_id"]


SAMPLE_FAULTS = {
    "key returns": ([("1.jpg", b""), ("2.jpg", b""), ("1.txt", b"")], "key '1' returns"),
    "ending twice": ([("1.jpg", b""), ("1.txt", b""), ("1.jpg", b"")], "'1' has two members 'jpg'"),
    "ending twice but for case": ([("1.jpg", b""), ("1.JPG", b"")], "'1' has two members 'jpg'"),
}


@pytest.mark.parametrize("case", SAMPLE_FAULTS)
def test_members_that_make_no_samples(case: str) -> None:
    members, named = SAMPLE_FAULTS[case]
    assert named in refused(tar_of(members))


@pytest.mark.parametrize("name", ["clé.jpg", "1.é"])
def test_name_that_is_not_utf8(name: str) -> None:
    assert "not UTF-8" in refused(tar_of([(name, b"")], encoding="latin-1"))


# ---------------------------------------------------------------------------- damage

INTACT = tar_of(img2dataset_members(0, 3), tarfile.PAX_FORMAT)
END = len(tar_of(img2dataset_members(0, 3), tarfile.PAX_FORMAT).rstrip(b"\0"))
END += -END % 512  # where the end-of-archive marker begins


def test_cut_anywhere() -> None:
    for cut in [*range(0, END + 512, 97), END - 512, END, END + 1, END + 511]:
        assert ("damaged at byte" if cut else "has no bytes") in refused(INTACT[:cut])
    assert scanned(INTACT[: END + 512]).table == scanned(INTACT).table


def test_the_standard_library_ends_in_silence_where_we_refuse() -> None:
    at = INTACT.index(b"000000001.jpg")
    data = INTACT[:at] + b"X" + INTACT[at + 1 :]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert [m.name for m in tar] == ["000000000.jpg", "000000000.json", "000000000.txt"]
    assert f"damaged at byte {at}: no header of a tar (bad checksum)" in refused(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, END - 1), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_flipped_bytes_are_found_or_harmless(flips: list[tuple[int, int]], repair: bool) -> None:
    data = bytearray(INTACT)
    for at, value in flips:
        data[at] = value
        if repair:  # a liar gets the checksum right
            start = at - at % 512
            data[start + 148 : start + 156] = b" " * 8
            data[start + 148 : start + 156] = b"%06o\0 " % sum(data[start : start + 512])
    try:
        found = scanned(bytes(data))
    except WrongData as error:
        assert "a/0.tar" in str(error)
    else:
        assert found.sha256 == hashlib.sha256(data).hexdigest()
        ShardIndex.of_folder(found.table).require_inside("a/0.tar", len(data))


def header(name: bytes, size: bytes, kind: bytes = b"0") -> bytes:
    """A header with a right checksum."""
    buf = bytearray(512)
    buf[: len(name)], buf[124:136], buf[148:156], buf[156:157] = name, size.ljust(12, b"\0"), b" " * 8, kind
    buf[148:156] = b"%06o\0 " % sum(buf)
    return bytes(buf)


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    return header(b"pax", b"%011o" % len(records), kind) + records + bytes(-len(records) % 512)


def record(keyword: str, value: str) -> bytes:
    body = f" {keyword}={value}\n".encode()
    length = len(body) + 1
    while len(str(length)) + len(body) != length:
        length += 1
    return str(length).encode() + body


FILE = header(b"1.jpg", b"00000000004") + b"data" + bytes(508)
ENDS = bytes(1024)
LIES = {
    "negative size": header(b"1.jpg", b"\xff" * 12) + ENDS,
    "a size that leads back to the start": header(b"1.jpg", (-512).to_bytes(12, "big", signed=True)) + ENDS,
    "size beyond the end": header(b"1.jpg", b"77777777777") + ENDS,
    "size beyond any file": header(b"1.jpg", b"\x80" + b"\x7f" * 11) + ENDS,
    "negative size of a long name": header(b"L", b"\xff" * 12, b"L") + FILE + ENDS,
    "negative size by pax": pax(record("size", "-512")) + FILE + ENDS,
    "pax size that is larger for all": pax(record("size", "4000"), b"g") + FILE + ENDS,
    "long name of a gigabyte": header(b"L", b"%011o" % (1 << 30), b"L") + FILE + ENDS,
    "long names without end": (header(b"L", b"00000000004", b"L") + b"name" + bytes(508)) * 400 + FILE + ENDS,
    "a long name before nothing": header(b"L", b"00000000004", b"L") + b"name" + bytes(508) + ENDS,
    "digits that take hours": pax(b"1" * 60_000) + FILE + ENDS,
    "a page": b"<!DOCTYPE html>" + b" " * 2000,
    "short": b"x" * 100,
}


@pytest.mark.parametrize("case", LIES)
@pytest.mark.timeout(20)
def test_liars(case: str) -> None:
    assert "is damaged at byte" in refused(LIES[case])


def test_global_pax_size_is_refused_where_it_hides_a_member() -> None:
    """With the size of a global header, the data of one member would run over the header of the next."""
    assert "has a size that is not one" in refused(LIES["pax size that is larger for all"])


def test_data_after_the_end() -> None:
    assert f"after byte {END + 512}" in refused(INTACT + INTACT)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_compressed(pack: object) -> None:
    assert "is compressed" in refused(pack(INTACT)) and callable(pack)  # pyright: ignore[reportCallIssue]


SPARSE = {
    "gnu": header(b"1.jpg", b"00000000000", b"S") + ENDS,
    "pax 0.1": pax(record("GNU.sparse.map", "0,4")) + FILE + ENDS,
    "pax 1.0": pax(record("GNU.sparse.major", "1") + record("GNU.sparse.minor", "0"))
    + header(b"1.jpg", b"%011o" % 516)
    + b"1\n0\n4\n".ljust(512, b"\0")
    + b"data".ljust(512, b"\0")
    + ENDS,
}


@pytest.mark.parametrize("case", SPARSE)
def test_sparse(case: str) -> None:
    assert "is a sparse member" in refused(SPARSE[case])
