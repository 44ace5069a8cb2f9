"""What the documents say is so: commands parse, recipes load, every command is documented, paths exist."""

import io
import re
import shlex
from pathlib import Path

import pytest
import typer
import yaml
from PIL import Image

from pipelines.cli import app
from pipelines.recipe_file import load, validated
from pipelines.train.loop.config_file import checked
from tests.builders import sample
from tests.finished import finished

ROOT = Path(__file__).resolve().parents[1]
DOCS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "dags" / "README.md",
]
README = (ROOT / "README.md").read_text()


def _jpeg() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 30, 90)).save(file, "JPEG")
    return file.getvalue()


JPEG = _jpeg()
COMMANDS = typer.main.get_command(app).commands  # pyright: ignore[reportAttributeAccessIssue]


def blocks(language: str) -> list[str]:
    return [b for d in DOCS for b in re.findall(rf"```{language}\n(.*?)```", d.read_text(), re.DOTALL)]


def documented() -> list[list[str]]:
    """Every `pairmill …` in a shell block, split as a shell would."""
    lines = [line.split("   #")[0] for b in blocks("sh") for line in b.splitlines()]
    found = [re.search(r"\bpairmill (.*)", line) for line in lines if not line.lstrip().startswith("#")]
    return [shlex.split(m[1]) for m in found if m]


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_documented_command_parses(words: list[str]) -> None:
    command = COMMANDS[words[0]]
    with command.make_context(words[0], words[1:]) as context:
        assert context.params is not None


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_documented_and_helps(name: str) -> None:
    help_text = COMMANDS[name].help or ""
    assert f"pairmill {name}" in README
    assert "Example: pairmill" in help_text and help_text.splitlines()[0].endswith(".")


@pytest.mark.parametrize("text", blocks("yaml"), ids=lambda t: t.splitlines()[0])
def test_documented_recipe_loads(text: str) -> None:
    validated(yaml.safe_load(text), "README")


@pytest.mark.parametrize("text", blocks("yaml train"), ids=lambda t: t.splitlines()[0])
def test_documented_training_loads(text: str) -> None:
    assert checked(yaml.safe_load(text), "docs").stages


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines" / "recipes").glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_recipe_loads(path: Path) -> None:
    assert load(str(path)).recipe.name == path.stem


@pytest.mark.parametrize("doc", [d for d in DOCS if d.exists()], ids=lambda d: str(d.relative_to(ROOT)))
def test_paths_named_in_documents_exist(doc: Path) -> None:
    named = re.findall(r"`((?:schemas|stages|pipelines|dags|bench|tests|docs)/[\w./]*)`", doc.read_text())
    assert [n for n in named if not (ROOT / n).exists()] == []


def test_package_names_are_ours() -> None:
    from importlib.util import find_spec

    for name in ("schemas", "stages", "pipelines"):
        spec = find_spec(name)
        assert spec is not None and spec.origin is not None and Path(spec.origin).is_relative_to(ROOT)


PYTHON = [block for block in blocks("python") if "build_dataset" not in block]


@pytest.mark.parametrize("code", PYTHON, ids=lambda c: c.splitlines()[0])
def test_documented_python_runs(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder that has a finished build where the documents say that there is one. (DAGs run elsewhere.)"""
    finished(tmp_path / "builds" / "demo", [sample(i, image=JPEG) for i in range(8)])
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "document", "exec"), {})
