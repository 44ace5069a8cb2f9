"""The DAG loads and runs in a real Airflow, in an environment of its own.

The fast tests read the file only. The slow ones install Airflow under .airflow-env/ (200 MB, kept for the next run)
and are skipped where the package registry cannot be reached.
"""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DAG_FILE = ROOT / "dags" / "build_dataset.py"
ENVIRONMENT = ROOT / ".airflow-env"
AIRFLOW = "apache-airflow==3.3.2"
STAGES = ["pool", "download", "measure", "dedup", "select", "masks", "synthesize", "shards", "verify"]


def test_imports_nothing_of_ours() -> None:
    tree = ast.parse(DAG_FILE.read_text())
    nodes = [n for n in ast.walk(tree) if isinstance(n, (ast.Import, ast.ImportFrom))]
    names = {a.name for n in nodes if isinstance(n, ast.Import) for a in n.names}
    names |= {n.module or "" for n in nodes if isinstance(n, ast.ImportFrom)}
    assert all(isinstance(n, ast.Import) or n.level == 0 for n in nodes)
    assert {name.partition(".")[0] for name in names} <= {"airflow", *sys.stdlib_module_names}


def test_airflow_is_the_same_version_everywhere() -> None:
    assert f"version={AIRFLOW.partition('==')[2]}" in (ROOT / "dags" / "serve").read_text()


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment variables for Airflow's python, with a fresh database."""
    if not (ENVIRONMENT / "bin" / "airflow").exists():
        steps = [["venv", "--allow-existing", "--python", "3.11", str(ENVIRONMENT)]]
        steps += [["pip", "install", "--quiet", "--python", str(ENVIRONMENT / "bin" / "python"), AIRFLOW]]
        for step in steps:
            done = subprocess.run(["uv", *step], capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip(f"Airflow cannot be installed: {done.stderr.strip()[-200:]}")
    home = tmp_path_factory.mktemp("airflow")
    settings = {"CORE__LOAD_EXAMPLES": "False", "CORE__DAGS_FOLDER": str(DAG_FILE.parent)}
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AIRFLOW", "PYTHON", "VIRTUAL_ENV", "PAIRMILL"))}
    env = {**kept, "AIRFLOW_HOME": str(home), **{f"AIRFLOW__{k}": v for k, v in settings.items()}}
    subprocess.run([ENVIRONMENT / "bin" / "airflow", "db", "migrate"], env=env, capture_output=True, check=True)
    return env


def in_airflow(env: dict[str, str], conf: dict[str, Any] | None = None, **variables: str) -> dict[str, Any]:
    """What in_airflow.py found: import errors, DAGs, and with `conf` the states of a run."""
    script = Path(__file__).with_name("in_airflow.py")
    arguments = [str(DAG_FILE.parent), "build_dataset", json.dumps(conf) if conf is not None else ""]
    done = subprocess.run(
        [ENVIRONMENT / "bin" / "python", script, *arguments],
        env={**env, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "log": done.stdout + done.stderr}


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A `pairmill` that writes down how it was called; a recipe's name says how it ends."""
    path = tmp_path / "pairmill"
    path.write_text(f"""#!{sys.executable}
import json, sys
from pathlib import Path
here = Path({str(tmp_path)!r})
with (here / "calls").open("a") as f:
    f.write(json.dumps([str(Path.cwd()), *sys.argv[1:]]) + "\\n")
calls = len((here / "calls").read_text().splitlines())
if sys.argv[-1] == "wrong.yaml":
    sys.exit(2)
if sys.argv[-1] == "flaky.yaml" and calls == 1:
    sys.exit(1)
if sys.argv[1] == "verify":
    print(json.dumps({{"ok": True, "inputs": 3, "kept": 2, "rejected": 1, "unaccounted": 0, "findings": []}}))
    sys.exit(1 if sys.argv[-1] == "broken" else 0)
""")
    path.chmod(0o755)
    return path


def calls(recorder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (recorder.parent / "calls").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(900)
class TestInAirflow:
    def test_parameters_reach_the_command_as_they_are(
        self, airflow: dict[str, str], recorder: Path, tmp_path: Path
    ) -> None:
        odd = "--help '$(touch pwned)' {{ 1 + 1 }}\n\".yaml"
        conf = {"recipe": odd, "pool": ["a,b.csv", "{{ x }}"], "output": "o ut", "engine": "local"}
        found = in_airflow(
            airflow, {**conf, "settings": ["a.b=c"]}, PAIRMILL=str(recorder), PAIRMILL_HOME=str(tmp_path)
        )
        assert (found["errors"], found["dags"], found["state"]) == ({}, ["build_dataset"], "success")
        assert found["order"] == {s: STAGES[max(0, i - 1) : i] for i, s in enumerate(STAGES)}
        *builds, verify = calls(recorder)
        settings = ['--set=pool.paths=["a,b.csv", "{{ x }}"]', "--set=a.b=c"]
        for stage, call in zip(STAGES[:-1], builds, strict=True):
            options = ["--out=o ut", f"--until={stage}", "--engine=local", *settings]
            assert call == [str(tmp_path), "build", *options, "--json", "--", odd]
        assert verify == [str(tmp_path), "verify", "--json", "--", "o ut"]
        assert not (tmp_path / "pwned").exists()

    def test_wrong_request_is_not_tried_again(self, airflow: dict[str, str], recorder: Path) -> None:
        found = in_airflow(airflow, {"recipe": "wrong.yaml"}, PAIRMILL=str(recorder))
        assert found["state"] == "failed"
        assert found["tasks"]["pool"] == ["failed", 1]
        assert found["tasks"]["download"][0] == "upstream_failed"
        assert len(calls(recorder)) == 1

    def test_failure_is_tried_again(self, airflow: dict[str, str], recorder: Path) -> None:
        found = in_airflow(airflow, {"recipe": "flaky.yaml"}, PAIRMILL=str(recorder))
        assert found["state"] == "success"
        assert found["tasks"]["pool"] == ["success", 2]

    def test_build_that_does_not_verify_fails_the_run(self, airflow: dict[str, str], recorder: Path) -> None:
        found = in_airflow(airflow, {"output": "broken"}, PAIRMILL=str(recorder))
        assert found["state"] == "failed"
        assert found["tasks"]["verify"] == ["failed", 1]

    def test_no_pairmill_is_named(self, airflow: dict[str, str]) -> None:
        found = in_airflow(airflow, {}, PAIRMILL="/nowhere/pairmill")
        assert found["tasks"]["pool"] == ["failed", 1]
        assert "cannot run /nowhere/pairmill" in found["log"]

    def test_demo_pool_is_built(self, airflow: dict[str, str], tmp_path: Path) -> None:
        """The real command line over the sample web, served on loopback."""
        from pipelines.demo import RECIPE
        from pipelines.sample_web.pool import write_pool
        from pipelines.sample_web.server import SampleWebServer

        write_pool(tmp_path / "web", rows=200, seed=7)
        out = tmp_path / "build"
        with SampleWebServer(tmp_path / "web") as server:
            conf = {
                "recipe": str(RECIPE),
                "pool": [str(tmp_path / "web" / "pool.parquet")],
                "output": str(out),
                "engine": "local",
                "settings": [f"download.connect_to={json.dumps(server.connect_to)}"],
            }
            found = in_airflow(airflow, conf, PAIRMILL=str(Path(sys.executable).parent / "pairmill"))
        assert (found["errors"], found["state"]) == ({}, "success"), found["log"][-3000:]
        assert found["tasks"] == {stage: ["success", 1] for stage in STAGES}
        manifest = json.loads((out / "manifest.json").read_text())
        assert manifest["kept"] > 0
        assert manifest["inputs"] == manifest["kept"] + sum(manifest["rejected"].values())
        (event,) = found["events"]
        assert (event["manifest"], event["inputs"]) == (str(out / "manifest.json"), manifest["inputs"])
