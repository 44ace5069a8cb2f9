"""Benchmarks' files, as they are distributed, as questions: one small reader each."""
