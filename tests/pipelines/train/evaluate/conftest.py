"""A run's folder and its build, made once."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import cli
from tests.pipelines.train.evaluate import tiny_run

Pairmill = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build."""
    return tiny_run.build(tmp_path_factory.mktemp("kept") / "own")


@pytest.fixture(scope="session")
def tiny(shelf: Path, kept: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run."""
    return tiny_run.run(tmp_path_factory.mktemp("tiny") / "run", shelf, kept)


@pytest.fixture
def pairmill(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Pairmill:
    """The command line in this process: exit code, stdout, stderr."""

    def ran(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pairmill", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return ran
