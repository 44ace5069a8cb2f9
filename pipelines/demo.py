"""`pairmill demo`: serve the sample web on loopback, build from it, show what became of every row."""

import json
from dataclasses import dataclass
from pathlib import Path

from pipelines.build import BuildOptions, build
from pipelines.plan import Plan
from pipelines.recipe_file import load
from pipelines.sample_web.pool import write_pool
from pipelines.sample_web.server import SampleWebServer
from stages.store import Store

RECIPE = Path(__file__).parent / "recipes" / "demo.yaml"
_SEED = 7


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`rows` of the sample web; `engine` ray or local."""

    rows: int = 1200
    engine: str | None = None
    workers: int | None = None


def web_folder(out: str) -> Path:
    """Where the demo keeps its pool and its truth: beside the build, never inside it."""
    return Path(f"{out.rstrip('/')}-web")


def run_demo(out: str, demo: DemoOptions, options: BuildOptions) -> Plan:
    """Build the demo into `out`. A second run finds everything done."""
    web = web_folder(out)
    write_pool(web, rows=demo.rows, seed=_SEED)
    with SampleWebServer(web) as server:
        overrides = [
            f"pool.paths=[{str(web.resolve() / 'pool.parquet')!r}]",
            f"download.connect_to={json.dumps(server.connect_to)}",
        ]
        overrides += [f"engine.{k}={v}" for k, v in (("kind", demo.engine), ("workers", demo.workers)) if v is not None]
        return build(load(str(RECIPE), overrides), Store(out), options)


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
