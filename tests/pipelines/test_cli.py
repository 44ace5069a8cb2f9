"""Wrong requests end with 2 and one line that names the thing; help answers without heavy libraries."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines import cli as room
from tests.conftest import RECIPE, ROOT, Cli, Web, sets


def pairmill(*args: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run the command line in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["pairmill", *args])
    with pytest.raises(SystemExit) as ended:
        room.main()
    return int(ended.value.code or 0)


RULES = "select.rules=[{{reason: r, keep: {!r}}}]"
WRONG = {
    "unknown key": (["--set", "download.max_byte=3"], ["download.max_byte", "did you mean 'max_bytes'"]),
    "wrong type": (["--set", "shards.max_samples=lots"], ["shards.max_samples"]),
    "column not in the pool": (["--set", "pool.columns.url=link"], ["link", "pool.parquet"]),
    "rule that is not SQL": (["--set", RULES.format("width >")], ["'r'"]),
    "rule with two statements": (["--set", RULES.format("true; drop table x")], ["'r'"]),
    "rule over an unknown column": (["--set", RULES.format("widht > 3")], ["widht", "width"]),
    "unknown model": (["--set", "measure.clip={model: ViT-B-33, pretrained: openai}"], ["ViT-B-33", "ViT-B-32"]),
    "missing model folder": (["--set", "measure.clip={model: 'local-dir:nowhere'}"], ["nowhere"]),
    "near without pdq": (["--set", "measure.pdq=null"], ["dedup.near", "pdq"]),
    "unknown stage": (["--until", "uploading"], ["uploading", "download"]),
    "missing pool file": (["--set", "pool.paths=[gone.parquet]"], ["gone.parquet"]),
    "unknown pool format": (["--set", "pool.paths=[README.md]"], ["README.md"]),
    "unknown engine": (["--engine", "spark"], ["engine.kind"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_request(
    web: Web,
    case: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    args, named = WRONG[case]
    base = ["build", str(RECIPE), "--out", str(tmp_path / "b"), "--engine", "local", *sets(web.settings)]
    clip = (
        []
        if "clip" in " ".join(args)
        else ["--set", "masks=null", "--set", "measure.clip=null", "--set", "select.best=[]"]
    )
    clip += [] if "rules" in " ".join(args) or "clip" in " ".join(args) else ["--set", "select.rules=[]"]
    assert pairmill(*base, *clip, *args, monkeypatch=monkeypatch) == 2
    said = capsys.readouterr().err
    assert said.startswith("pairmill: ") and said.count("\n") == 1 and all(n in said for n in named), said
    assert not list((tmp_path / "b").glob("[!l]*")), "nothing is written for a wrong request"


def test_missing_recipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert pairmill("build", "nowhere.yaml", monkeypatch=monkeypatch) == 2
    assert "nowhere.yaml" in capsys.readouterr().err


def test_anothers_folder(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: other")
    assert pairmill("build", str(RECIPE), "--out", str(tmp_path), *sets(web.settings), monkeypatch=monkeypatch) == 2
    assert "build of recipe 'other'" in capsys.readouterr().err


def test_a_folder_with_other_things(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert pairmill("build", str(RECIPE), "--out", str(tmp_path), *sets(web.settings), monkeypatch=monkeypatch) == 2
    assert "not a build folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_unwritable_folder(
    web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    out = str(tmp_path / "file" / "build")
    assert pairmill("build", str(RECIPE), "--out", out, *sets(web.settings), monkeypatch=monkeypatch) == 2
    assert "cannot write to" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["verify", "stats", "sql", "whatif", "explain", "report"])
def test_no_build_there(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    more = {"sql": ["SELECT 1"], "explain": ["abc"], "whatif": ["--rule", "true"]}.get(command, [])
    assert pairmill(command, str(tmp_path), *more, monkeypatch=monkeypatch) == 2
    assert "is not a build folder" in capsys.readouterr().err


@pytest.mark.parametrize("args", [["--help"], ["build", "--help"], ["sql", "--help"]])
def test_help_loads_nothing_heavy(args: list[str]) -> None:
    probe = (
        "import sys\nfrom pipelines.cli import app\ntry:\n app(sys.argv[1:])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'ray', 'pyarrow', 'duckdb', 'cv2', 'open_clip', 'webdataset'} & set(sys.modules)\n"
        "sys.exit(f'loaded {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", probe, *args], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_finished_build_answers(web: Web, cli: Cli, tmp_path: Path) -> None:
    out = str(tmp_path / "b")
    rules = [
        "--set",
        "masks=null",
        "--set",
        "measure.clip=null",
        "--set",
        "select.best=[]",
        "--set",
        RULES.format("width >= 64"),
    ]
    assert json.loads(
        cli("build", str(RECIPE), "--out", out, "--engine", "local", "--json", *sets(web.settings), *rules)
    ) == {"build": out}
    report = json.loads(cli("verify", out, "--json"))
    assert report["ok"] and report["inputs"] == 240 and not report["unaccounted"]
    assert report["kept"] + report["rejected"] == 240
    stages = json.loads(cli("stats", out, "--json"))["stages"]
    assert stages[0]["stage"] == "pool" and stages[-1]["kept"] == report["kept"]
    rows = json.loads(
        cli("sql", out, "SELECT sample_id, reason FROM ledger WHERE stage = 'download' LIMIT 1", "--json")
    )
    said = json.loads(cli("explain", out, rows[0]["sample_id"], "--json"))
    assert said["decision"]["reason"] == rows[0]["reason"]
    assert json.loads(cli("whatif", out, "--rule", "width >= 9999", "--json"))["kept_then"] == 0
    damaged = next(Path(out, "shards").glob("*.tar"))
    raw = bytearray(damaged.read_bytes())
    raw[700] ^= 1
    damaged.write_bytes(raw)
    process = cli.start("verify", out)
    found, _ = process.communicate(timeout=100)
    assert process.returncode == 1 and f"shards/{damaged.name}" in found


_LEAVES = """
import atexit, sys, time
from concurrent.futures import ThreadPoolExecutor
from pipelines.cli import leave
atexit.register(print, "registered")
ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.3), print("worked")))
print("said", end=" ")
leave(3)
"""


def test_the_console_leaves_with_its_code_once_all_is_done_and_said() -> None:
    command = [sys.executable, "-c", _LEAVES]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (told.returncode, told.stdout, told.stderr) == (3, "said worked\nregistered\n", "")
