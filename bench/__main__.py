"""`python -m bench NAME [options]`: run one benchmark; it prints a table and writes bench/results/NAME.md and .json."""

import importlib
import sys

BENCHMARKS: dict[str, str] = {
    "curation": "bench.curation",
    "dedup": "bench.dedup",
    "download": "bench.download",
    "features": "bench.features",
    "lies": "bench.lies",
    "masks": "bench.masks",
    "photos": "bench.photos",
    "plan_pool": "bench.plan_pool",
    "real_language": "bench.real_language",
    "shuffle": "bench.shuffle",
    "stream": "bench.stream",
    "synthesize": "bench.synthesize",
    "train": "bench.train",
    "truth": "bench.truth",
}
"""Name → module with a `run(args: list[str])`; imported only when asked for."""


def main(argv: list[str]) -> int:
    if not argv or argv[0] not in BENCHMARKS:
        asked = f"no benchmark is called {argv[0]!r}" if argv else "which benchmark?"
        print(f"{asked}; choose one of: {', '.join(sorted(BENCHMARKS))}", file=sys.stderr)
        return 2
    importlib.import_module(BENCHMARKS[argv[0]]).run(argv[1:])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
