"""Readers of training shards, side by side: samples per second and CPU per sample over the same samples, in one run.

Every reader delivers batches of 64 in its own shuffled order: bytes of all three members, or 224 × 224 uint8 pictures
made with one shared decoder, or with the reader's own. Each measurement is a process of its own on a warm page cache;
readers take turns. Before that, each proves what it reads: the digests of an epoch are compared with the stored bytes.

    uv run python -m bench stream --photos ../shared/data/photos
    uv run python -m bench stream --samples 600 --per-shard 100 --seconds 0.3 --many 20000 --repetitions 1   # a look
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.harness import report
from bench.streaming.data import Data, cache_folder, many, photographs
from bench.streaming.environment import PEERS
from bench.streaming.readers import READERS
from bench.streaming.rows import claims, column, rows
from bench.streaming.runner import Measured, Runner, interleaved
from bench.streaming.setting import Answer, Setting
from bench.streaming.store import ObjectStore, serving
from schemas.errors import WrongData

PARTS = ("check", "rate", "memory", "first")
_INDEXED = ("loose", "bare")
"""Not in `memory` and `first`: millions of loose files would measure the file system, and the decoder opens nothing."""


def run(args: list[str]) -> None:
    """Measure, print and write bench/results/stream.*"""
    asked = _parser().parse_args(args)
    data = photographs(asked.cache, asked.photos, asked.samples, asked.per_shard)
    facts: dict[str, Any] = {"peers": ", ".join(f"{name} {version}" for name, version in PEERS.items())}
    facts["samples"] = (
        f"{asked.samples:,} of {'photographs' if asked.photos else 'drawn scenes'}, {asked.per_shard:,} a shard"
    )
    measured: list[Measured] = []
    with ExitStack() as stack:
        store = stack.enter_context(serving()) if "s3" in asked.storage else None
        runner = Runner(asked.cache, store.endpoint if store else None, asked.patience)
        if "check" in asked.parts:
            facts |= _checked(data, asked, store, runner)
        if "rate" in asked.parts:
            for group in _grouped(list(_settings(data, asked, store))):
                measured += interleaved(group, runner.run, asked.repetitions, _say)
            facts |= claims(measured)
    if {"memory", "first"} & set(asked.parts):
        facts |= _at_scale(many(asked.cache, asked.many, asked.many_per_shard), asked, Runner(asked.cache))
    report(asked.name, rows(measured), facts)


def _settings(data: Data, asked: argparse.Namespace, store: ObjectStore | None) -> Iterator[Setting]:
    for storage in asked.storage:
        for decode in asked.decode:
            for workers in asked.workers:
                for reader in asked.readers:
                    made = _located(data, reader, decode, store if storage == "s3" else None)
                    shuffle = not asked.stored_order
                    made = replace(made, workers=workers, seconds=asked.seconds, shuffle=shuffle)
                    yield made
                    if decode != "none" and workers == 0 and READERS[reader].threads:
                        yield replace(made, threads=2)


def _located(data: Data, reader: str, decode: str, store: ObjectStore | None) -> Setting:
    """A setting that knows where the reader's format is; with a store, in the store."""
    if store is None:
        return Setting(reader, str(data.of(reader, decode)), decode=decode)
    root, options = store.of(data, reader, decode)
    return Setting(reader, root, decode=decode, options=options, cache=str(data.cache / "cold"))


def _grouped(settings: list[Setting]) -> list[list[Setting]]:
    """Settings that are compared with one another are measured together."""
    groups: dict[tuple[str, int, str], list[Setting]] = {}
    for setting in settings:
        groups.setdefault(column(Measured(setting)), []).append(setting)
    return list(groups.values())


def _checked(data: Data, asked: argparse.Namespace, store: ObjectStore | None, runner: Runner) -> dict[str, str]:
    """Raises WrongData where a reader delivered other bytes than are stored, or ours left samples out."""
    stored, facts = data.stored(), {}
    for storage in asked.storage:
        for reader in [name for name in asked.readers if name != "bare"]:
            located = _located(data, reader, "none", store if storage == "s3" else None)
            for workers in asked.workers:
                answer = runner.run(replace(located, job="check", workers=workers))
                about = f"check: {READERS[reader].title}, {storage}, {workers} workers"
                facts[about] = answer.cannot or _compared(about, stored, answer, whole=reader == "ours")
                _say(f"{about}: {facts[about]}")
    return facts


def _compared(about: str, stored: dict[str, str], answer: Answer, whole: bool) -> str:
    wrong = [text for text, found in answer.found.items() if stored.get(text) != found]
    missing = len(stored) - len(answer.found)
    said = f"{len(answer.found):,} samples, {missing:,} missing, {answer.repeated:,} repeated"
    if wrong or (whole and (missing or answer.repeated)):
        raise WrongData(f"{about}: {said}, {len(wrong):,} differ from what is stored", "its figures would be of no use")
    return said


def _at_scale(data: Data, asked: argparse.Namespace, runner: Runner) -> dict[str, str]:
    """Memory over many samples, and the first sample after opening all those shards."""
    facts = {}
    about = f"{data.samples:,} samples in {-(-data.samples // asked.many_per_shard):,} shards"
    for reader in asked.readers:
        if reader in _INDEXED:
            continue
        setting = Setting(reader, str(data.of(reader)), limit=data.samples)
        if "first" in asked.parts:
            answers = [runner.run(replace(setting, job="first")) for _ in range(asked.repetitions)]
            facts[f"first sample of {about}: {READERS[reader].title}"] = _seconds(answers)
            _say(f"first sample: {reader}: {_seconds(answers)}")
        if "memory" in asked.parts:
            answer = runner.run(replace(setting, job="memory"))
            facts[f"memory over {about}: {READERS[reader].title}"] = _resident(answer)
            _say(f"memory: {reader}: {_resident(answer)}")
    return facts


def _seconds(answers: list[Answer]) -> str:
    cannot = next((a.cannot for a in answers if a.cannot), None)
    walls = sorted(a.wall for a in answers)
    return cannot or f"{walls[0]:.3f} s best, {walls[len(walls) // 2]:.3f} s median"


def _resident(answer: Answer) -> str:
    if answer.cannot:
        return answer.cannot
    told = [f"{rss:.0f} MiB ({own:.0f} anonymous) after {int(n):,}" for n, (rss, own) in answer.rss.items()]
    return ", ".join(told)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench stream", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    option = parser.add_argument
    option("--photos", type=Path, help="folder of photographs (*.jpg); by default scenes are drawn")
    option("--cache", type=Path, default=cache_folder(), help="where data and the peers' environment are kept")
    option("--samples", type=int, default=6000)
    option("--per-shard", type=int, default=1000)
    option("--seconds", type=float, default=2.0, help="reading time of a measurement, at least")
    option("--repetitions", type=int, default=3)
    option("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    option("--readers", nargs="+", choices=list(READERS), default=list(READERS))
    option("--storage", nargs="+", choices=("local", "s3"), default=["local", "s3"])
    option("--decode", nargs="+", choices=("none", "same", "own"), default=["none", "same", "own"])
    option("--workers", nargs="+", type=int, default=[0, 2])
    option("--stored-order", action="store_true", help="no shuffling anywhere")
    option("--many", type=int, default=1_000_000, help="tiny samples for memory and first sample")
    option("--many-per-shard", type=int, default=1000)
    option("--name", default="stream", help="of the results: some parts can be run apart")
    option("--patience", type=float, default=600.0, help="seconds until a reader process is given up")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
