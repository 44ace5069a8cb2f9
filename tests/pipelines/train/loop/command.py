"""`pairmill train` in processes of its own, for kills, limits, signals and several ranks.

A parent imports what is heavy once and forks a process for each job. A job is its words, with before them:

    --largest BYTES        no file may grow beyond
    --die STEP:record      SIGKILL from within, after the step is recorded
    --die STEP:checkpoint  SIGKILL while the step's checkpoint is being written
    --term STEP            SIGTERM after the step is recorded
    --ranks N              so many processes, as torchrun starts them; the first one's output
"""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[4]
Job = list[str]


def ran(*jobs: Job) -> list[tuple[int, str, str]]:
    """Exit code (−9: killed), stdout and stderr of each, one after the other."""
    command = [sys.executable, "-m", "tests.pipelines.train.loop.command"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment,
        input=json.dumps(jobs),
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(code, out, err) for code, out, err in json.loads(done.stdout)]


def main() -> None:
    import peft  # noqa: F401
    import transformers  # noqa: F401

    from pipelines.train.loop import trainer  # noqa: F401

    print(json.dumps([forked(job) for job in json.load(sys.stdin)]))


def forked(job: Job) -> tuple[int, str, str]:
    """One job: its process, or those of its ranks."""
    ranks = 1
    if job[0] == "--ranks":
        ranks, job = int(job[1]), job[2:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(ranks):
        files = [tempfile.TemporaryFile("w+") for _ in range(2)]  # noqa: SIM115 - the child writes them
        pid = os.fork()
        if not pid:
            if ranks > 1:
                told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": ranks, "MASTER_PORT": port}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", **{k: str(v) for k, v in told.items()}}
            child(job, files)
        children.append((pid, files))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid, _ in children]
    texts = []
    for file in children[0][1]:
        file.seek(0)
        texts.append(file.read())
    return (next((code for code in codes if code), 0), texts[0], texts[1])


def child(job: Job, files: list[Any]) -> None:
    """Never returns."""
    for number, file in enumerate(files, start=1):
        os.dup2(file.fileno(), number)
    try:
        command(job)
    except BaseException:  # noqa: BLE001 - a forked child must not become the parent
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(70)


def command(words: Job) -> None:
    """As the console entry runs it."""
    from pipelines import cli
    from pipelines.commands.train import train

    while words[0].startswith("--"):
        option, value, words = words[0], words[1], words[2:]
        if option == "--largest":
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(value), int(value)))
        elif option == "--term":
            after_step(int(value), signal.SIGTERM)
        elif value.endswith(":record"):
            after_step(int(value.split(":")[0]), signal.SIGKILL)
        else:
            within_checkpoint(int(value.split(":")[0]))
    if "train" not in cli.COMMANDS:
        cli.app.command("train")(train)
    sys.argv = ["pairmill", *words]
    cli.console()


def after_step(step: int, number: signal.Signals) -> None:
    """Arrange a signal."""
    from pipelines.train.loop.record import Record

    add = Record.add

    def added(self: Record, record: Any, rejected: Any) -> None:
        add(self, record, rejected)
        if record.step == step:
            os.kill(os.getpid(), number)

    Record.add = added


def within_checkpoint(step: int) -> None:
    """Arrange a SIGKILL with a file half written."""
    from pipelines.train.loop import checkpoint

    write = checkpoint.write_tensors

    def written(out: Any, tensors: Any) -> None:
        if f"step-{step:08d}" in str(out._file.name):
            out.write(b"torn")
            os.kill(os.getpid(), signal.SIGKILL)
        write(out, tensors)

    checkpoint.write_tensors = written


if __name__ == "__main__":
    main()
