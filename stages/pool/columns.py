"""Do the files have the columns that the recipe maps? Found out from headers and footers, before any row is read."""

import difflib
from concurrent.futures import ThreadPoolExecutor

from schemas.errors import WrongRequest
from schemas.recipe import ColumnMap
from stages.pool import delimited, jsonl, parquet
from stages.pool.chunk import carried, mapped
from stages.pool.files import PoolFile

_THREADS = 16


def check(files: list[PoolFile], columns: ColumnMap, extra: bool) -> None:
    """Raises WrongRequest naming the column and the file; WrongData when a file cannot be read."""
    with ThreadPoolExecutor(_THREADS) as pool:
        for _ in pool.map(lambda file: _check_one(file, columns, extra), files):
            pass


def _check_one(file: PoolFile, columns: ColumnMap, extra: bool) -> None:
    if file.format == "parquet":
        names = parquet.names(file, columns, extra)
    elif file.format == "jsonl":
        names = jsonl.keys(file)
        if not names:
            return  # nothing in it says what its rows should have
    else:
        names = delimited.header(file)
    wanted = mapped(columns)
    for role, name in wanted.items():
        if name not in names:
            raise _absent(file, role, name, names)
    for name in [*wanted.values(), *(carried(names, columns) if extra else [])]:
        if names.count(name) > 1:
            raise WrongRequest(f"pool file {file.path} has two columns {name!r}", "rename one of them")


def _absent(file: PoolFile, role: str, name: str, names: list[str]) -> WrongRequest:
    lower = {n.lower(): n for n in reversed(names)}
    close = [m for wanted in (name, role) for m in difflib.get_close_matches(wanted.lower(), lower, 1, cutoff=0.5)]
    hint = repr(lower[close[0]]) if close else "the one you mean"
    listed = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    return WrongRequest(
        f"pool.columns.{role}: {file.path} has no column {name!r}", f"set it to {hint}; the columns are {listed}"
    )
