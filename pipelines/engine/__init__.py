"""Engines: where work orders run. Both call the same `attempt`, so both give the same bytes."""
