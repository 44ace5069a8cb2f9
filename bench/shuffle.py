"""Shuffle quality of the readers at equal memory, from the orders in which they really deliver one epoch.

Three figures, each 0 for stored order and 1 for a uniform permutation: how far a sample travels, how often neighbours
come from different shards, and the entropy of the shards in a batch. Memory is counted in shards: what is begun and
not finished at once for readers in place, the buffer (and the shard it is filled from) for webdataset.

    uv run python -m bench shuffle
    uv run python -m bench shuffle --shards 32 --per-shard 100 --held 4     # a look
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.harness import report
from bench.streaming.data import Data, cache_folder, many
from bench.streaming.environment import PEERS
from bench.streaming.quality import batch_entropy, mixing, shards_held, travel
from bench.streaming.readers import READERS
from bench.streaming.runner import Runner
from bench.streaming.setting import Setting


@dataclass(frozen=True, slots=True)
class Way:
    """A reader with its settings for a memory of `held` shards."""

    reader: str
    title: str
    options: dict[str, Any] = field(default_factory=dict)
    buffer: int = 0
    """Samples that the reader keeps in a buffer of its own."""


def run(args: list[str]) -> None:
    """Measure, print and write bench/results/NAME.*"""
    parser = argparse.ArgumentParser(
        prog="bench shuffle", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shards", type=int, default=128)
    parser.add_argument("--per-shard", type=int, default=256)
    parser.add_argument("--held", type=int, nargs="+", default=[8, 32], help="shards in memory")
    parser.add_argument("--batch", type=int, default=256, help="samples whose shards' entropy is taken")
    parser.add_argument("--readers", nargs="+", choices=list(READERS), default=["ours", "wds0", "wds1", "mds", "lit"])
    parser.add_argument("--cache", type=Path, default=cache_folder())
    parser.add_argument("--name", default="shuffle", help="of the results: memories can be measured apart")
    asked = parser.parse_args(args)
    data = many(asked.cache, asked.shards * asked.per_shard, asked.per_shard)
    runner = Runner(asked.cache)
    rows = _bounds(asked)
    for held in asked.held:
        for way in ways(held, asked.per_shard):
            if way.reader in asked.readers:
                print(f"{held} shards: {way.title}", file=sys.stderr, flush=True)
                rows.append(_row(way, held, data, runner, asked))
    facts = {
        "samples": f"{data.samples:,} in {asked.shards} shards; entropy of batches of {asked.batch}",
        "peers": ", ".join(f"{name} {version}" for name, version in PEERS.items()),
    }
    report(asked.name, rows, facts)


def ways(held: int, per_shard: int) -> Iterator[Way]:
    """Every reader, told to use about `held` shards of memory where it can be told."""
    inside = held * per_shard
    yield Way("ours", "ours", {"window": held})
    for reader in ("wds0", "wds1"):
        yield Way(reader, f"{READERS[reader].title}, shuffle buffer", {"buffer": inside}, buffer=inside)
    for algorithm in ("py1e", "py1br"):
        told = {"shuffle_algo": algorithm, "shuffle_block_size": inside}
        yield Way("mds", f"mosaicml-streaming, {algorithm}", told)
    for algorithm in ("py1s", "py2s"):  # their memory is set by how many shards the canonical nodes read at once
        told = {"shuffle_algo": algorithm, "num_canonical_nodes": held}
        yield Way("mds", f"mosaicml-streaming, {algorithm}, {held} canonical nodes", told)
    yield Way("mds", "mosaicml-streaming, naive", {"shuffle_algo": "naive"})
    yield Way("lit", "litdata", {})
    yield Way("lit", "litdata, whole chunks", {"item_shuffle_window": "full"})


def _bounds(asked: argparse.Namespace) -> list[dict[str, Any]]:
    sizes = np.full(asked.shards, asked.per_shard)
    stored = np.arange(asked.shards * asked.per_shard)
    chance = np.random.default_rng(0).permutation(stored)
    named = (("stored order", stored), ("uniform permutation", chance))
    return [{"memory set": None, "reader": name, **_figures(order, sizes, asked.batch)} for name, order in named]


def _row(way: Way, held: int, data: Data, runner: Runner, asked: argparse.Namespace) -> dict[str, Any]:
    folder = data.of(way.reader)
    about: dict[str, Any] = {"memory set": held, "reader": way.title}
    answer = runner.run(Setting(way.reader, str(folder), "order", options=way.options))
    if answer.cannot:
        return {**about, "note": answer.cannot}
    sizes, order = shard_sizes(folder, asked.per_shard, data.samples), np.asarray(answer.order)
    left_out = data.samples - len(np.unique(order))
    if left_out or len(order) != data.samples:
        return {**about, "note": f"{left_out} samples left out, {len(order)} delivered: no permutation"}
    figures = _figures(order, sizes, asked.batch)
    if way.buffer:
        figures["shards held"] = round(way.buffer / asked.per_shard + 1, 1)
    return {**about, **figures}


def _figures(order: np.ndarray, sizes: np.ndarray, batch: int) -> dict[str, Any]:
    return {
        "shards held": shards_held(order, sizes),
        "travel": round(travel(order), 3),
        "neighbours": round(mixing(order, sizes), 3),
        "batch entropy": round(batch_entropy(order, sizes, batch), 3),
    }


def shard_sizes(folder: Path, per_shard: int, samples: int) -> np.ndarray:
    """Samples of each shard, as the format's own index says; tars hold `per_shard` each."""
    index = folder / "index.json"
    if not index.exists():
        full, rest = divmod(samples, per_shard)
        return np.asarray([per_shard] * full + [rest] * (rest > 0))
    told = json.loads(index.read_text())
    if "shards" in told:
        return np.asarray([shard["samples"] for shard in told["shards"]])
    return np.asarray([chunk["chunk_size"] for chunk in told["chunks"]])
