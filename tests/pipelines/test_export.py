"""Exports: what is in which file, what is left out and why, the same bytes every time, nothing half-written."""

import base64
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from pipelines.export import Exported, ExportOptions, export
from pipelines.exports import command
from pipelines.exports.read import Sample
from pipelines.exports.talks import Left, talks
from schemas.errors import WrongData, WrongRequest
from stages.store import Store
from tests.builders import Rejected, sample, sid
from tests.conftest import ROOT
from tests.finished import finished
from tests.pipelines.talking import jpeg, talk, talking

PAIR: dict[str, Any] = {"kind": "preference", "rejected": "Five.", "planted": "wrong_count"}


def written(store: Store, format: str, out: Path, **options: Any) -> dict[str, list[dict[str, Any]]]:
    """File → records."""
    return read(out, export(store, format, out, ExportOptions(**options)))


def read(out: Path, said: Exported) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for name, count in said.records.items():
        text = (out / name).read_text()
        found[name] = json.loads(text) if name.endswith(".json") else [json.loads(x) for x in text.splitlines()]
        assert len(found[name]) == count
    return found


def hashes(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Six samples in two shards: two rounds; two pictures; none; a pair; a question each."""
    several = talk("Which is larger, <image>\nor\n<image>?", "The first.", kind="interleaved", images=[sid(1), sid(4)])
    said = [
        [talk("What is it?", "A box.", "How many?", "Two.")],
        [several],
        [],
        [talk("How many?", "Two.", **PAIR)],
        [talk("Q4", "A4", kind="detail", usage=None, teacher="template")],
        [talk("Q5", "A5")],
    ]
    return talking(tmp_path_factory.mktemp("one") / "b", said)


def by_id(records: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {record["id"]: record for record in records}


def test_llava(one: Store, tmp_path: Path) -> None:
    files = written(one, "llava", tmp_path / "out")
    assert set(files) == {"train.json", "train_several.json"}
    record = by_id(files["train.json"])[f"{sid(0)}-0"]
    assert re.fullmatch(rf"images/train-00000\d/{sid(0)}\.jpg", record["image"])
    assert record["conversations"] == [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "A box."},
        {"from": "human", "value": "How many?"},
        {"from": "gpt", "value": "Two."},
    ]
    (several,) = files["train_several.json"]
    assert [Path(p).stem for p in several["image"]] == [sid(1), sid(4)]
    assert several["conversations"][0]["value"].count("<image>") == 2


def test_sharegpt(one: Store, tmp_path: Path) -> None:
    files = written(one, "sharegpt", tmp_path / "out")
    assert set(files) == {"train.jsonl", "train_several.jsonl", "train_pairs.jsonl"}
    assert all(len(r["images"]) == str(r["conversations"]).count("<image>") for rs in files.values() for r in rs)
    (pair,) = files["train_pairs.jsonl"]
    assert pair["conversations"] == [{"from": "human", "value": "<image>\nHow many?"}]
    assert (pair["chosen"], pair["rejected"]) == ({"from": "gpt", "value": "Two."}, {"from": "gpt", "value": "Five."})
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_text())
    assert {d["file_name"]: d.get("ranking", False) for d in info.values()} == {n: "_pairs" in n for n in files}
    assert set(info) == {"hand-made_train", "hand-made_train_several", "hand-made_train_pairs"}


def test_messages(one: Store, tmp_path: Path) -> None:
    files = written(one, "messages", tmp_path / "out")
    record = by_id(files["train.jsonl"])[f"{sid(0)}-0"]
    assert record["messages"][0] == {
        "role": "user",
        "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}],
    }
    assert [m["role"] for m in record["messages"]] == ["user", "assistant"] * 2
    (several,) = files["train_several.jsonl"]
    kinds = [part["type"] if part["type"] == "image" else part["text"] for part in several["messages"][0]["content"]]
    assert kinds == ["Which is larger, ", "image", "or", "image", "?"]
    (pair,) = files["train_pairs.jsonl"]
    assert [m["content"][-1]["text"] for m in (*pair["prompt"], *pair["chosen"], *pair["rejected"])] == [
        "How many?",
        "Two.",
        "Five.",
    ]


def test_messages_with_a_path_in_each_part(one: Store, tmp_path: Path) -> None:
    (several,) = written(one, "messages", tmp_path / "out", pictures="path")["train_several.jsonl"]
    paths = [p["path"] for p in several["messages"][0]["content"] if p["type"] == "image"]
    assert [Path(p).stem for p in paths] == [sid(1), sid(4)]
    assert "images" not in several, "Axolotl adds the first of this column once more"


def test_messages_with_the_pictures_inside(one: Store, tmp_path: Path) -> None:
    (several,) = written(one, "messages", tmp_path / "out", pictures="data")["train_several.jsonl"]
    urls = [p["image_url"]["url"] for p in several["messages"][0]["content"] if p["type"] == "image_url"]
    assert [base64.b64decode(u.removeprefix("data:image/jpeg;base64,")) for u in urls] == [jpeg(1), jpeg(4)]


@pytest.mark.parametrize("format", ["llava", "sharegpt", "messages"])
def test_pictures_are_copied_byte_for_byte(one: Store, format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = written(one, format, out, images=True)
    listed = [r["image"] if "image" in r else r["images"] for records in files.values() for r in records]
    paths = {p for each in listed for p in ([each] if isinstance(each, str) else each)}
    assert {str(p.relative_to(out)) for p in out.glob("images/*/*")} == paths
    assert {Path(p).stem: (out / p).read_bytes() for p in paths} == {
        Path(p).stem: jpeg(int(Path(p).stem)) for p in paths
    }


def test_a_build_in_an_object_store(one: Store, tmp_path: Path) -> None:
    remote = Store(f"memory://{tmp_path.name}")
    remote.fs.put(f"{one.root}/", f"{remote.root}/", recursive=True)
    for store, out in ((one, "a"), (remote, "b")):
        export(store, "messages", tmp_path / out, ExportOptions(images=True))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def test_records_do_not_depend_on_copied_pictures(one: Store, tmp_path: Path) -> None:
    assert written(one, "llava", tmp_path / "a") == written(one, "llava", tmp_path / "b", images=True)


def test_the_same_bytes_again(one: Store, tmp_path: Path) -> None:
    for out in ("a", "b"):
        export(one, "sharegpt", tmp_path / out, ExportOptions(images=True, captions=True))
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b") != {}


def test_order_is_that_of_the_shards(one: Store, tmp_path: Path) -> None:
    records = written(one, "llava", tmp_path / "out", kinds=("vqa", "detail"))["train.json"]
    stored = one.read_table("shards/index.parquet")["sample_id"].to_pylist()
    there = [r["provenance"]["sample_id"] for r in records]
    assert there == [s for s in stored if s in there] and len(there) == 3


def test_provenance_has_the_same_types_in_every_record(one: Store, tmp_path: Path) -> None:
    """A reader that infers types from the first rows would stop at a later null."""
    records = written(one, "messages", tmp_path / "out", captions=True)
    kinds = {tuple((k, type(v)) for k, v in r["provenance"].items()) for rs in records.values() for r in rs}
    assert len(kinds) == 1
    said = by_id(records["train.jsonl"])
    paid, free = (said[f"{sid(n)}-0"]["provenance"] for n in (0, 4))
    assert (paid["teacher"], paid["prompt_version"], paid["prompt_tokens"], paid["cost"]) == (
        "some-model",
        3,
        120,
        0.00042,
    )
    assert paid["evidence"] == ["", "box:0", "", "box:0"]
    assert (free["teacher"], free["prompt_tokens"], free["cost"]) == ("template", 0, 0.0)


def test_every_sample_is_exported_or_counted(one: Store, tmp_path: Path) -> None:
    said = export(one, "llava", tmp_path / "out", ExportOptions(kinds=("vqa",)))
    assert (said.samples, said.records, said.kinds) == (6, {"train.json": 2}, {"vqa": 2})
    assert said.left == {"other_kind": 3, "no_conversation": 1}
    assert json.loads((tmp_path / "out" / "export.json").read_text())["left"] == said.left


def test_llava_has_no_place_for_pairs(one: Store, tmp_path: Path) -> None:
    assert export(one, "llava", tmp_path / "out").left == {"no_conversation": 1, "pair": 1}


def test_captions_of_samples_without_conversation(one: Store, tmp_path: Path) -> None:
    files = written(one, "llava", tmp_path / "out", captions=True)
    (record,) = files["train_captions.json"]
    assert record["id"] == f"{sid(2)}-caption" and record["conversations"][1] == {"from": "gpt", "value": "caption 2"}
    assert record["conversations"][0]["value"].startswith("<image>\n")


def test_a_build_without_conversations_exports_captions(tmp_path: Path) -> None:
    store = finished(tmp_path / "b", [sample(0), sample(1, caption=""), sample(2, caption="see <image>")])
    said = export(store, "sharegpt", tmp_path / "out", ExportOptions(captions=True))
    assert said.records == {"train_captions.jsonl": 1}
    assert said.left == {"no_caption": 1, "image_markers": 1}


def test_splits_have_files_of_their_own(tmp_path: Path) -> None:
    store = talking(tmp_path / "b", [[talk("Q", "A")] for _ in range(12)], val_share=0.4)
    files = written(store, "llava", tmp_path / "out")
    assert set(files) == {"train.json", "val.json"}
    splits = {row["sample_id"]: row["split"] for row in store.read_table("shards/index.parquet").to_pylist()}
    assert {r["provenance"]["sample_id"]: n.split(".")[0] for n, rs in files.items() for r in rs} == splits


UNFIT = {
    "a marker in a question": (talk("What does <image> mean?", "A sign."), Left.image_markers),
    "a marker in an answer": (talk("What does it say?", "It says <image>."), Left.image_markers),
    "a video's marker": (talk("What does it say?", "It says <video>."), Left.image_markers),
    "a marker in the worse answer": (talk("Q", "A", **{**PAIR, "rejected": "<image>"}), Left.image_markers),
    "fewer markers than pictures": (talk("<image> Q", "A", images=[sid(0), sid(1)]), Left.image_markers),
    "more markers than pictures": (talk("<image> <image> <image>", "A", images=[sid(0), sid(1)]), Left.image_markers),
    "a marker split by a marker": (talk("<im<image>age> <image>", "A", images=[sid(0), sid(1)]), Left.image_markers),
    "no answer": (talk("Q", "A", "Q"), Left.roles),
    "no turns": (talk(), Left.roles),
}
MISSING = {
    "a picture that is in no shard": talk("<image> <image>", "A", images=[sid(0), sid(2)]),
    "a picture that never was": talk("<image> <image>", "A", images=[sid(0), "../x"]),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_no_consumer_could_read(case: str) -> None:
    bad, why = UNFIT[case]
    assert talks(Sample(sid(0), "train", "train-000000", {}, None, [bad], False), 0, bad) is why


@pytest.mark.parametrize("format", ["sharegpt", "messages"])
def test_what_no_consumer_could_read_is_counted(format: str, tmp_path: Path) -> None:
    bad = [*(one for one, _ in UNFIT.values()), *MISSING.values()]
    store = talking(tmp_path / "b", [[*bad, talk("Q", "A")], [], [talk("Q", "A")]], {2: Rejected("select", "dull")})
    said = export(store, format, tmp_path / "out")
    assert said.records == {"train.jsonl": 1}
    assert said.left == {"image_markers": 7, "roles": 2, "picture_missing": 2, "no_conversation": 1}


def test_lines_break_nowhere_else(tmp_path: Path) -> None:
    text = "one\u2028two\u2029three\x85four\nfive\r\x0b\x1c"
    store = talking(tmp_path / "b", [[talk("Q", text)]])
    (record,) = written(store, "sharegpt", tmp_path / "out")["train.jsonl"]
    assert record["conversations"][1]["value"] == text


def test_a_turned_picture_is_counted(tmp_path: Path) -> None:
    store = finished(tmp_path / "b", [sample(0, image=jpeg(0), orientation=6), sample(1, image=jpeg(1), orientation=1)])
    assert export(store, "llava", tmp_path / "out", ExportOptions(captions=True)).turned == 1


# --------------------------------------------------------------------------------------- wrong requests and data

WRONG: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "format": ("alpaca", {}, ["alpaca", "sharegpt"]),
    "kind": ("llava", {"kinds": ("vqqa",)}, ["vqqa", "detail, interleaved, preference, vqa"]),
    "pictures": ("messages", {"pictures": "base64"}, ["base64", "data"]),
    "pictures elsewhere": ("llava", {"pictures": "data"}, ["messages"]),
    "pictures twice": ("messages", {"pictures": "data", "images": True}, ["--images"]),
    "only what does not fit": ("llava", {"kinds": ("preference",)}, ["llava", "1 pair"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request(one: Store, case: str, tmp_path: Path) -> None:
    format, options, named = WRONG[case]
    with pytest.raises(WrongRequest) as told:
        export(one, format, tmp_path / "out", ExportOptions(**options))
    assert all(n in str(told.value) for n in named), told.value
    assert not (tmp_path / "out").exists()


def test_a_build_without_conversations(tmp_path: Path) -> None:
    store = finished(tmp_path / "b", [sample(0)])
    with pytest.raises(WrongRequest, match=r"no conversations.*--captions"):
        export(store, "llava", tmp_path / "out")
    assert hashes(tmp_path / "out") == {}


def test_a_folder_that_is_not_empty(one: Store, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(WrongRequest, match=r"mine\.txt"):
        export(one, "llava", tmp_path)
    assert hashes(tmp_path).keys() == {"mine.txt"}
    with pytest.raises(WrongRequest, match="is a file"):
        export(one, "llava", tmp_path / "mine.txt")


def test_not_a_build(tmp_path: Path) -> None:
    with pytest.raises(WrongRequest, match="not a build folder"):
        export(Store(str(tmp_path)), "llava", tmp_path / "out")


def test_an_unfinished_build(tmp_path: Path) -> None:
    store = talking(tmp_path / "b", [[talk("Q", "A")]])
    store.remove("manifest.json")
    with pytest.raises(WrongData, match="not done"):
        export(store, "llava", tmp_path / "out")


@pytest.mark.parametrize("member", ["image", "json"])
def test_a_damaged_shard_is_named(member: str, tmp_path: Path) -> None:
    store = talking(tmp_path / "b", [[talk("Q", "A")]])
    row = store.read_table("shards/index.parquet").to_pylist()[0]
    path = tmp_path / "b" / "shards" / row["shard"]
    data = bytearray(path.read_bytes())
    data[row[f"{member}_offset"] + 1] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(WrongData, match=sid(0)):
        export(store, "llava", tmp_path / "out", ExportOptions(images=True))
    assert hashes(tmp_path / "out") == {}


def test_a_conversation_of_another_shape_is_named(tmp_path: Path) -> None:
    store = talking(tmp_path / "b", [[talk("Q", "A")]])
    (tar,) = (tmp_path / "b" / "shards").glob("*.tar")
    tar.write_bytes(tar.read_bytes().replace(b'"turns":', b'"turnz":'))
    with pytest.raises(WrongData, match=rf"{sid(0)}.*turn"):
        export(store, "llava", tmp_path / "out")


# ------------------------------------------------------------------------------------------------- kills, size

_KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.export import ExportOptions, export
from pipelines.exports import folder
from stages.store import Store
at, seen = int(sys.argv[3]), 0
def counted(f):
    def one(*a, **k):
        global seen
        seen += 1
        if seen == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return f(*a, **k)
    return one
folder.Out.add, folder.Out.put = counted(folder.Out.add), counted(folder.Out.put)
Path.rename = counted(Path.rename)
export(Store(sys.argv[1]), "sharegpt", Path(sys.argv[2]), ExportOptions(images=True, captions=True))
"""


def test_a_kill_leaves_no_half_file(one: Store, tmp_path: Path) -> None:
    """At a record, the first move and a later one; what has its final name is whole."""
    export(one, "sharegpt", tmp_path / "whole", ExportOptions(images=True, captions=True))
    whole = hashes(tmp_path / "whole")
    for at in (5, 13, 15):
        out = tmp_path / f"killed-{at}"
        command = [sys.executable, "-c", _KILLED, one.url, str(out), str(at)]
        ended = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
        assert ended.returncode == -signal.SIGKILL, at
        final = {name: h for name, h in hashes(out).items() if not name.startswith(".partial/")}
        assert final.items() <= whole.items()
        if final:
            with pytest.raises(WrongRequest, match="not empty"):
                export(one, "sharegpt", out)
        else:
            export(one, "sharegpt", out, ExportOptions(images=True, captions=True))
            assert hashes(out) == whole


def test_two_exports_into_one_folder(one: Store, tmp_path: Path) -> None:
    from pipelines.exports.folder import out_folder

    with out_folder(tmp_path / "out"), pytest.raises(WrongRequest, match="another export"):
        export(one, "llava", tmp_path / "out")


def test_a_full_disk_is_said(one: Store, small_disk: Path) -> None:
    (small_disk / "fill").write_bytes(b"x" * (1_000_000 - 200_000))
    (small_disk / "out").mkdir()
    with pytest.raises(WrongData, match="no space left"):
        for _ in range(100):  # a few kB each
            export(one, "llava", small_disk / "out", ExportOptions(images=True))
            (small_disk / "out").rename(small_disk / f"full-{len(list(small_disk.iterdir()))}")


def test_memory_does_not_grow_with_the_build(tmp_path: Path) -> None:
    """The JSON array is never whole in memory: 100 records of 80 kB, in shards of 10."""
    store = talking(tmp_path / "b", [[talk("Q", "x" * 80_000)] for _ in range(100)], max_samples=10)
    export(store, "llava", tmp_path / "warm")
    tracemalloc.start()
    try:
        export(store, "llava", tmp_path / "out")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "out" / "train.json").stat().st_size > 7_000_000
    assert peak < 2_000_000, f"{peak:,} bytes"


# ---------------------------------------------------------------------------------------------- command line


def test_command_line(one: Store, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(command.export)
    args = [one.url, "--format", "messages", "--kind", "vqa", "--kind", "detail", "--images", "--out"]
    plain = CliRunner().invoke(app, [*args, str(tmp_path / "a")])
    assert plain.exit_code == 0, plain.output
    assert "train.jsonl: 3 records" in plain.output and "other_kind 2" in plain.output and "3 pictures" in plain.output
    machine = CliRunner().invoke(app, [*args, str(tmp_path / "b"), "--json"])
    assert json.loads(machine.output) == json.loads((tmp_path / "b" / "export.json").read_text())
    assert isinstance(CliRunner().invoke(app, [*args, str(tmp_path / "b")]).exception, WrongRequest)
