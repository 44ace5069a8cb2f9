"""docs/exports.md: the records shown are what the command writes, and the commands parse."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer

from pipelines.export import ExportOptions, export
from pipelines.exports import command
from stages.store import Store
from tests.builders import sid
from tests.conftest import ROOT
from tests.pipelines.talking import talk, talking

PAGE = (ROOT / "docs" / "exports.md").read_text()
SHOWN = {
    "llava": "train.json",
    "sharegpt": "train_pairs.jsonl",
    "messages": "train_several.jsonl",
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    question = ("How many boxes are there?", "Two.")
    first = [
        talk(*question, kind="counting"),
        talk(*question, kind="preference", rejected="Five.", planted="wrong_count"),
        talk("Which is larger,\n<image>\nor\n<image>\n?", "The first.", kind="interleaved", images=[sid(0), sid(1)]),
    ]
    return talking(tmp_path_factory.mktemp("docs") / "b", [first, []])


@pytest.mark.parametrize("format", SHOWN)
def test_the_record_shown_is_the_record_written(store: Store, format: str, tmp_path: Path) -> None:
    section = re.search(rf"^## {format}\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None
    shown = re.search(r"```json\n(.*?)```", section[1], re.DOTALL)
    assert shown is not None
    export(store, format, tmp_path / "out")
    text = (tmp_path / "out" / SHOWN[format]).read_text()
    (record,) = json.loads(text) if format == "llava" else [json.loads(line) for line in text.splitlines()]
    assert json.loads(shown[1]) == record and list(json.loads(shown[1])) == list(record)


def test_commands_parse() -> None:
    app = typer.Typer()
    app.command()(command.export)
    parser = typer.main.get_command(app)
    lines = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    assert len(lines) == 4
    for line in lines:
        assert parser.make_context("export", shlex.split(line)[2:]).params["out"]


def test_export_data_of_the_page_is_read_by_datasets(store: Store, tmp_path: Path) -> None:
    """As the page does it, every file of the format."""
    from datasets import Image, List, load_dataset

    out = tmp_path / "out"
    said = export(store, "messages", out, ExportOptions(images=True, captions=True))
    assert len(said.records) == 4
    for name in said.records:
        data = load_dataset("json", data_files=str(out / name), split="train", cache_dir=str(tmp_path / "cache"))
        data = data.map(lambda row: {"images": [str(out / path) for path in row["images"]]})
        row = data.cast_column("images", List(Image()))[0]
        assert all(picture.size[0] == 24 for picture in row["images"])
        turns = row["prompt"] if "prompt" in row else row["messages"]
        assert sum(part["type"] == "image" for turn in turns for part in turn["content"]) == len(row["images"])
