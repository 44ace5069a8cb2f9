"""Build a dataset with pairmill: one task per stage, then verify. Airflow 3.

Nothing of pairmill is imported here: each task runs its command line, in the environment that has it. What the tasks
share is the build folder. A task that is tried again goes on where it stopped; one that had nothing to do ends at once.

The environment of the Airflow workers says where pairmill is:

    PAIRMILL        its executable; `pairmill` on PATH when unset
    PAIRMILL_HOME   the folder at which relative recipe and output paths start; the worker's own when unset
"""

import json
import os
import subprocess
from datetime import timedelta
from typing import Any

from airflow.providers.standard.hooks.subprocess import SubprocessHook
from airflow.sdk import DAG, Asset, BaseOperator, Param, chain
from airflow.sdk.exceptions import AirflowException, AirflowFailException

STAGES = ("pool", "download", "measure", "dedup", "select", "masks", "synthesize", "shards")
WRONG_REQUEST = 2  # pairmill's exit code for a recipe, path or flag that is wrong

MANIFEST = Asset(name="pairmill_manifest", uri="x-pairmill://manifest")
"""Updated by each verified build; the event's `extra` has the path of its manifest and the counts of `verify`."""


class PairmillOperator(BaseOperator):
    """Runs one pairmill command. Arguments go to the process as they are: no shell and no template reads them."""

    def __init__(self, *, stage: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stage = stage
        self._hook = SubprocessHook()

    def execute(self, context: Any) -> str:
        """Returns the last line that the command printed. Raises AirflowFailException where no retry can help."""
        params = context["params"]
        command = [os.environ.get("PAIRMILL") or "pairmill", *arguments(self.stage, params)]
        try:
            result = self._hook.run_command(command, cwd=os.environ.get("PAIRMILL_HOME") or ".")
        except OSError as error:
            raise AirflowFailException(f"cannot run {command[0]}: {error}; set PAIRMILL and PAIRMILL_HOME") from error
        if result.exit_code == WRONG_REQUEST or (result.exit_code and self.stage == "verify"):
            raise AirflowFailException(result.output)  # trying again cannot help
        if result.exit_code != 0:
            raise AirflowException(f"{self.stage} ended with {result.exit_code}: {result.output}")
        if self.stage == "verify":
            report = json.loads(result.output)
            context["outlet_events"][MANIFEST].extra = {
                "manifest": f"{params['output'].rstrip('/')}/manifest.json",
                **{name: report[name] for name in ("inputs", "kept", "rejected")},
            }
        return result.output

    def on_kill(self) -> None:
        """The command runs in a process group of its own and ends with the task."""
        process: subprocess.Popen[bytes] | None = self._hook.sub_process
        if process is not None and process.poll() is None:
            self._hook.send_sigterm()


def arguments(stage: str, params: Any) -> list[str]:
    """Command line of a stage, or of `verify`. `--` ends the options: no parameter can pass for one."""
    if stage == "verify":
        return ["verify", "--json", "--", params["output"]]
    settings = [f"--set=pool.paths={json.dumps(params['pool'])}"] if params["pool"] else []
    settings += [f"--set={one}" for one in params["settings"]]
    options = [f"--out={params['output']}", f"--until={stage}", f"--engine={params['engine']}", *settings]
    return ["build", *options, "--json", "--", params["recipe"]]


def build_dataset(dag_id: str, schedule: Any = None, **defaults: Any) -> DAG:
    """A DAG that builds one dataset. `defaults` are the parameters of a run that nobody filled in by hand."""

    def param(name: str, default: Any, description: str, **schema: Any) -> Param:
        return Param(defaults.get(name, default), description=description, **schema)

    texts: dict[str, Any] = {"type": "array", "items": {"type": "string", "minLength": 1}}
    params = {
        "recipe": param("recipe", "recipe.yaml", "Recipe file.", type="string", minLength=1),
        "pool": param("pool", [], "Files, globs or folders in place of the recipe's pool.paths.", **texts),
        "output": param("output", f"builds/{dag_id}", "Build folder or fsspec URL.", type="string", minLength=1),
        "engine": param("engine", "ray", "Where the work runs.", type="string", enum=["ray", "local"]),
        "settings": param("settings", [], "Further settings: KEY=VALUE, as --set takes them.", **texts),
    }
    with DAG(
        dag_id=dag_id,
        description="URLs in, accounted shards out",
        doc_md=__doc__,
        schedule=schedule,
        catchup=False,
        max_active_runs=1,  # runs share a build folder, and the machine
        params=params,
        default_args={"retries": 2, "retry_delay": timedelta(seconds=30), "retry_exponential_backoff": True},
        tags=["pairmill"],
    ) as made:
        tasks = [PairmillOperator(task_id=stage, stage=stage) for stage in STAGES]
        tasks.append(PairmillOperator(task_id="verify", stage="verify", outlets=[MANIFEST]))
        chain(*tasks)
    return made


dag = build_dataset("build_dataset")
