"""Benchmarks and scores: `uv run python -m bench NAME`."""
