"""Runs reader processes: one Setting in, one Answer out, bounded in time; and many of them, interleaved."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from bench.streaming.environment import ROOT, peers_python, variables
from bench.streaming.readers import READERS
from bench.streaming.setting import Answer, Setting

PATIENCE = 600.0
"""Seconds after which a reader process is ended; its row says so."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Starts each process in its reader's environment."""

    cache: Path
    endpoint: str | None = None
    patience: float = PATIENCE

    def run(self, setting: Setting) -> Answer:
        """A reader that fails or hangs answers with why, so that its row says it and the others go on."""
        if setting.cache is None:
            return self._run(setting)
        Path(setting.cache).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=setting.cache, ignore_cleanup_errors=True) as cold:
            return self._run(replace(setting, cache=cold))

    def _run(self, setting: Setting) -> Answer:
        python = peers_python(self.cache) if READERS[setting.reader].peers else Path(sys.executable)
        process = subprocess.Popen(
            [python, "-m", "bench.streaming.process"], cwd=ROOT, env=variables(self.endpoint), text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            out, err = process.communicate(setting.line() + "\n", timeout=self.patience)
        except subprocess.TimeoutExpired:
            return Answer(cannot=f"gave no answer within {self.patience:g} s")
        finally:
            _end(process)
        if process.returncode:
            return Answer(cannot=f"failed: {(err.strip().splitlines() or ['?'])[-1][:300]}")
        return Answer.parse(out.strip().splitlines()[-1])


def _end(process: "subprocess.Popen[str]") -> None:
    """The process with its workers: a group of its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@dataclass(slots=True)
class Measured:
    """The repetitions of one setting."""

    setting: Setting
    answers: list[Answer] = field(default_factory=list)

    @property
    def cannot(self) -> str | None:
        return next((a.cannot for a in self.answers if a.cannot), None)

    @property
    def best(self) -> float:
        return max((a.rate for a in self.answers if not a.cannot), default=0.0)

    @property
    def middle(self) -> float:
        return median([a.rate for a in self.answers if not a.cannot] or [0.0])

    @property
    def cpu_ms(self) -> float:
        """Of the repetition that took least: noise only adds."""
        return min((a.cpu_ms for a in self.answers if a.samples), default=0.0)

    @property
    def start_ms(self) -> float:
        return 1000 * median([s for a in self.answers for s in a.starts] or [0.0])


def interleaved(
    settings: Sequence[Setting], run: Callable[[Setting], Answer], repetitions: int, say: Callable[[str], None]
) -> list[Measured]:
    """A B C A B C: what disturbs the machine for a while hits all alike. A setting that cannot be is asked once."""
    measured = [Measured(setting) for setting in settings]
    for _ in range(repetitions):
        for each in measured:
            if each.cannot is None:
                answer = run(each.setting)
                each.answers.append(answer)
                where = "object store" if each.setting.cache else "local"
                told = answer.cannot or f"{answer.rate:,.0f}/s, {answer.cpu_ms:.3f} ms of CPU"
                say(f"{where}, {each.setting.workers} workers, {each.setting.decode}: {each.setting.reader} {told}")
    return measured
