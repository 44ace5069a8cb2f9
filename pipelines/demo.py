"""`pairmill demo`: serve the sample web on loopback, build from it, show what became of every row."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipelines.build import BuildOptions, build
from pipelines.progress import Watcher
from pipelines.recipe_file import load
from pipelines.sample_web.plant import BOXED
from pipelines.sample_web.pool import write_pool
from pipelines.sample_web.server import SampleWebServer
from pipelines.synthesis_stats import synthesis_summary
from schemas.endpoint import Prices
from schemas.errors import WrongRequest
from stages.store import Store

RECIPE = Path(__file__).parent / "recipes" / "demo.yaml"
_SEED = 7
_ASKED = 0.2
"""Share of what is kept that a local model is asked about."""
_PRICES = Prices(prompt=Decimal("0.15"), completion=Decimal("0.60"))
"""As an example: what a small hosted model costs per million tokens."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`rows` of the sample web, a share `boxed` of them with boxes; `engine` ray or local; `teacher` template, or
    local: a real model on this machine."""

    rows: int = 1200
    boxed: float = BOXED
    engine: str | None = None
    workers: int | None = None
    teacher: str = "template"


@dataclass(slots=True)
class Stopwatch:
    """Hands on what it is told, and keeps how long each stage took, in seconds."""

    watcher: Watcher
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    _began: dict[str, float] = field(default_factory=dict[str, float])

    def start(self, stage: str, total: int | None, skipped: int = 0) -> None:
        self._began[stage] = time.monotonic()
        self.watcher.start(stage, total, skipped)

    def advance(self, stage: str, rows: int, kept: int) -> None:
        self.watcher.advance(stage, rows, kept)

    def finish(self, stage: str, note: str = "") -> None:
        self.seconds[stage] = time.monotonic() - self._began[stage]
        self.watcher.finish(stage, note)


def web_folder(out: str) -> Path:
    """Where the demo keeps its pool and its truth: beside the build, never inside it."""
    return Path(f"{out.rstrip('/')}-web")


def run_demo(out: str, demo: DemoOptions, watcher: Watcher) -> dict[str, float]:
    """Build the demo into `out`; how many seconds each stage took. A second run finds everything done.

    Raises WrongRequest for a teacher that there is not, or whose packages are not installed.
    """
    if demo.teacher not in TEACHERS:
        raise WrongRequest(f"there is no teacher {demo.teacher!r}", f"choose from {', '.join(TEACHERS)}")
    web, stopwatch = web_folder(out), Stopwatch(watcher)
    with TEACHERS[demo.teacher]() as more:
        write_pool(web, rows=demo.rows, seed=_SEED, boxed=demo.boxed)
        with SampleWebServer(web) as server:
            overrides = [
                f"pool.paths=[{str(web.resolve() / 'pool.parquet')!r}]",
                f"download.connect_to={json.dumps(server.connect_to)}",
            ]
            extra = (("kind", demo.engine), ("workers", demo.workers))
            overrides += [f"engine.{k}={v}" for k, v in extra if v is not None]
            build(load(str(RECIPE), [*overrides, *more]), Store(out), BuildOptions(watcher=stopwatch))
    return stopwatch.seconds


@contextmanager
def _template() -> Iterator[list[str]]:
    yield []


@contextmanager
def _local() -> Iterator[list[str]]:
    """A small model writes captions anew, for the samples that fit their caption best; the rest would take too long."""
    from pipelines.local_model.server import local_model

    few = {"reason": "not_asked", "top": {"column": "clip_score", "share": _ASKED}}
    with local_model() as model:
        endpoint = model.endpoint(_PRICES).model_dump(mode="json")
        settings = {"teacher": "model", "kinds": ["recaption"], "endpoint": endpoint, "require": True}
        yield [
            *(f"synthesize.{name}={json.dumps(value)}" for name, value in settings.items()),
            f"select.rules={json.dumps([*_rules(), few])}",
        ]


def _rules() -> list[dict[str, Any]]:
    return [rule.model_dump(mode="json", exclude_none=True) for rule in load(str(RECIPE)).recipe.select.rules]


TEACHERS: Mapping[str, Callable[[], AbstractContextManager[list[str]]]] = MappingProxyType(
    {"template": _template, "local": _local}
)
"""Name → what serves it while the demo runs, and the settings that ask it."""


def speed(out: str, seconds: dict[str, float]) -> str | None:
    """What a model wrote per second, for a person; None where none was asked, or nothing was written in this run."""
    found = synthesis_summary(Store(out))
    if found is None or not found.total.completion_tokens or seconds.get("synthesize", 0.0) < 1.0:
        return None
    rate = found.total.completion_tokens / seconds["synthesize"]
    return f"{rate:,.0f} tokens/s written, prices {_PRICES.prompt} in and {_PRICES.completion} out per million tokens"


def next_commands(out: str) -> list[tuple[str, str]]:
    """What to try on a finished demo: command and what it shows."""
    return [
        (f"pairmill whatif {out} --rule 'clip_score >= 0.35'", "what another threshold would keep"),
        (
            f"pairmill build {out}/recipe.yaml --out {out} --set select.rules.low_clip.keep='clip_score >= 0.35'",
            "decide again: no download, no model",
        ),
        (f'pairmill sql {out} "SELECT stage, reason, count(*) FROM ledger GROUP BY ALL ORDER BY ALL"', "ask in SQL"),
        (f"pairmill explain {out} SAMPLE_ID", "one sample's whole story"),
        (f"pairmill verify {out}", "recompute every hash and count"),
    ]
