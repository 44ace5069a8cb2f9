"""What curation makes: the same small model trained with a fifth of captions and boxes mixed up, filter off and on.

For each seed a sample web in which 20 % of the sound pictures carry caption and boxes of another. Two builds of it,
without and with the rule `low_clip`, the CLIP score that pairmill measures; two trainings with the same number of
steps, side by side in a process of one thread each. Both are asked about a third web, where nothing is mixed up and
which neither has seen.

    uv run python -m bench curation --rows 1500 --seeds 0 1 2

Builds, runs and results stay in --scratch: what is finished there is not made again, unless what decides it changed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.curation_train import STAGES, Job
from bench.curation_web import ASKED_SEED, OFF, ON, SHARE, Arm, build_arms, build_asked
from bench.harness import report
from pipelines.demo_train import CONFIG, demo_config
from pipelines.manifest import read_manifest
from stages.store import Store, digest

ROOT = Path(__file__).resolve().parents[1]
_FORMAT = 1
"""Of a kept result; raise it when the same settings come to other figures."""
_WEIGHTS = ("model.safetensors", "tokenizer.json", "chat_template.jinja")
DIFFERENCE = "on − off"
_OVER_SEEDS = {"mean": mean, "standard deviation": stdev}
_ALL = "all"


def run(args: list[str]) -> None:
    """Command of `python -m bench curation`."""
    options = _arguments(args)
    folder = options.scratch / f"rows-{options.rows}"
    asked = build_asked(options.scratch / f"asked-{options.asked}", options.asked, options.engine)
    pairs = {seed: _pair(folder / f"seed-{seed}", seed, asked, options) for seed in options.seeds}
    rows = lines(pairs)
    kinds = next(iter(pairs.values()))[ON]["_questions"].keys() - {_ALL}
    report(options.name, rows, {**_facts(pairs, options), **meaning(rows, kinds)})


def _arguments(args: list[str]) -> Any:
    parser = argparse.ArgumentParser(prog="bench curation", description=__doc__)
    parser.add_argument("--rows", type=int, default=1500, help="of each sample web that is learnt from")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of web and training")
    parser.add_argument("--steps", type=int, nargs=2, default=[150, 400], metavar=("ALIGN", "INSTRUCT"))
    parser.add_argument("--asked", type=int, default=200, help="rows of the sample web that is asked about")
    parser.add_argument("--scratch", type=Path, default=Path("builds/curation"), help="what is finished stays there")
    parser.add_argument("--engine", default="ray", choices=["local", "ray"])
    parser.add_argument("--name", default="curation", help="results/NAME.md and .json")
    options = parser.parse_args(args)
    options.scratch = options.scratch.resolve()
    if bad := [seed for seed in options.seeds if not 0 <= seed < ASKED_SEED]:
        parser.error(f"--seeds {bad[0]}: web seeds are 0 … {ASKED_SEED - 1}; {ASKED_SEED} is asked about")
    if len(set(options.seeds)) != len(options.seeds):
        parser.error("--seeds: each once")
    return options


# ---------------------------------------------------------------------- both arms of a seed


def _pair(folder: Path, seed: int, asked: Store, options: Any) -> dict[str, dict[str, Any]]:
    """Arm → what it is made of and what came of it."""
    _say(f"seed {seed}: a web of {options.rows:,} rows, built twice")
    arms = build_arms(folder, options.rows, seed, options.engine)
    jobs = {name: _job(folder, name, arm, (seed, asked, options)) for name, arm in arms.items()}
    _learn(seed, {name: job for name, job in jobs.items() if not Path(job.result).exists()})
    return {name: _told(arms[name], json.loads(Path(job.result).read_text())) for name, job in jobs.items()}


def _job(folder: Path, name: str, arm: Arm, more: tuple[int, Store, Any]) -> Job:
    """Files are named by what decides them."""
    seed, asked, options = more
    parts = demo_config(arm.store.url).model
    assert parts is not None  # the demo builds its model of parts
    decides = {
        "format": _FORMAT,
        "seed": seed,
        "steps": options.steps,
        "config": CONFIG.read_text(encoding="utf-8"),
        "builds": [read_manifest(store).fingerprint for store in (arm.store, asked)],
        "weights": [_weights(Path(part.model)) for part in (parts.tower, parts.language)],
    }
    key = digest(decides)[:12]
    run, result = folder / f"{name}-{key}", folder / f"{name}-{key}.json"
    return Job(arm.store.url, asked.url, str(run), str(result), seed, tuple(options.steps), arm.mixed)


def _weights(folder: Path) -> dict[str, str]:
    store = Store(str(folder))
    return {name: store.sha256(name) for name in _WEIGHTS if (folder / name).exists()}


def _learn(seed: int, jobs: dict[str, Job]) -> None:
    """Side by side. Raises RuntimeError where one fails; the others are told to stop, and save what they have."""
    running: dict[str, tuple[subprocess.Popen[bytes], Path]] = {}
    try:
        for name, job in jobs.items():
            run = Path(job.run)
            path, log = run.with_name(f"{run.name}.job"), run.with_name(f"{run.name}.log")
            job.write(path)
            command, env = (
                [sys.executable, "-m", "bench.curation_train", str(path)],
                {**os.environ, "OMP_NUM_THREADS": "1"},
            )
            with log.open("ab") as out:
                process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=out)
            running[name] = process, log
            _say(f"seed {seed}, filter {name}: training, log in {log}")
        for name, (process, log) in running.items():
            if code := process.wait():
                raise RuntimeError(f"seed {seed}, filter {name}: ended with {code}, see {log}")
    finally:
        for process, _ in running.values():
            if process.poll() is None:
                process.terminate()
                process.wait()


def _told(arm: Arm, result: dict[str, Any]) -> dict[str, Any]:
    """Figures of an arm, flat."""
    answers = {row["name"]: row for row in result["answers"] if " " not in row["name"]}
    loss = next(row["loss"] for row in result["loss"] if row["by"] == "all")
    return {
        "rows kept": arm.kept,
        "mixed up": len(arm.mixed),
        "wrong captions": arm.wrong_captions,
        **{f"epochs {stage}": round(result["learnt"][stage]["epochs"], 2) for stage in STAGES},
        "learnt from mixed up": round(result["learnt"][STAGES[-1]]["mixed"], 4),
        "loss": round(loss, 4),
        **{name: round(row["values"]["accuracy"], 4) for name, row in answers.items()},
        "other pictures": round(answers[_ALL]["values"]["shuffled"], 4),
        "_majority": answers[_ALL]["values"]["majority"],
        "_questions": {name: row["count"] for name, row in answers.items()},
        "_sound": arm.sound,
        "_planted": arm.planted,
    }


# ---------------------------------------------------------------------- the table


def lines(pairs: dict[int, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each seed and arm, their difference, and over the seeds mean and standard deviation of each."""
    by_arm: dict[str, list[dict[str, float]]] = {OFF: [], ON: [], DIFFERENCE: []}
    rows: list[dict[str, Any]] = []
    for seed, pair in pairs.items():
        shown = {name: {key: value for key, value in arm.items() if key[0] != "_"} for name, arm in pair.items()}
        shown[DIFFERENCE] = {key: round(value - shown[OFF][key], 4) for key, value in shown[ON].items()}
        for name, figures in shown.items():
            by_arm[name].append(figures)
            rows.append({"seed": str(seed), "filter": name, **figures})
    for told, how in _OVER_SEEDS.items() if len(pairs) > 1 else ():
        for name, members in by_arm.items():
            over = {key: round(how([one[key] for one in members]), 4) for key in members[0]}
            rows.append({"seed": told, "filter": name, **over})
    return rows


def meaning(rows: list[dict[str, Any]], kinds: Collection[str] = ()) -> dict[str, str]:
    """What the table says, in sentences that hold whatever the figures are. `kinds`: columns of kinds of questions."""
    single = [row for row in rows if row["seed"] not in _OVER_SEEDS]
    told: dict[str, str] = {}
    for name in (OFF, ON):
        arm = [row for row in single if row["filter"] == name]
        kept, mixed, wrong = (sum(row[key] for row in arm) for key in ("rows kept", "mixed up", "wrong captions"))
        told[f"with the filter {name}"] = (
            f"{mixed:,} of {kept:,} rows kept are mixed up ({mixed / kept:.1%}); {wrong:,} more have a wrong caption "
            "alone, as the sample web plants it, and right boxes"
        )
    differences = [row for row in single if row["filter"] == DIFFERENCE]
    told["what the filter makes"] = _verdict(differences)
    told["by kind"] = ", ".join(_kind(name, differences) for name in differences[0] if name in kinds)
    return told


def _kind(name: str, differences: list[dict[str, Any]]) -> str:
    found = [100 * row[name] for row in differences]
    return f"{name} {mean(found):+.1f} (more with {sum(one > 0 for one in found)} of {len(found)} seeds)"


def _verdict(differences: list[dict[str, Any]]) -> str:
    """Of the accuracy over all questions, paired by seed."""
    found = [100 * row[_ALL] for row in differences]
    up, n = sum(one > 0 for one in found), len(found)
    said = f"{mean(found):+.1f} points of all questions answered right, filter on against off"
    if n == 1:
        return f"{said}; one seed says nothing of how much that varies"
    said += f" (mean of {n} seeds, standard deviation {stdev(found):.1f}, {min(found):+.1f} to {max(found):+.1f})"
    if up == n:
        return f"{said}: more with every seed"
    if up == 0:
        return f"{said}: more with no seed"
    return f"{said}: more with {up} of {n} seeds, so these runs show no difference to rely on"


def _facts(pairs: dict[int, dict[str, dict[str, Any]]], options: Any) -> dict[str, Any]:
    """What the arms have in common."""
    first = next(iter(pairs.values()))[ON]
    sound, planted = (sum(pair[OFF][key] for pair in pairs.values()) for key in ("_sound", "_planted"))
    questions = ", ".join(f"{name} {count:,}" for name, count in first["_questions"].items())
    steps = ", ".join(f"{steps:,} of {stage}" for stage, steps in zip(STAGES, options.steps, strict=True))
    return {
        "rows of each web": f"{options.rows:,}, its seed is the training's",
        "planted": f"{planted:,} of {sound:,} sound pictures have caption and boxes of another ({SHARE:.0%})",
        "steps of each arm": f"{steps}; the arm with fewer rows sees each of them more often (epochs)",
        "questions": f"{questions}; of a web that neither arm has seen, nothing of it mixed up; the same for all",
        "usual answers, accuracy": f"{first['_majority']:.3f}; other pictures: shown in the place of the right ones",
        "loss": "nats a label token, of the written answers to these questions",
    }


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)
