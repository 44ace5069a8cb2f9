"""CSV and TSV: a header, then one record a row, quoted as RFC 4180 has it.

A record that cannot be read becomes one malformed row, and reading goes on behind its first line: a quote that is
never closed costs its own line, not the file. Blank lines are no rows. TSV in the wild (CC3M, CC12M) does not quote:
a TSV line that does not parse with quotes, or only by swallowing tabs, and has the right number of tabs is taken as
it stands.

A field may hold 131,072 characters (Python's csv), a record 4 MiB.
"""

import csv
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from schemas.errors import WrongRequest
from schemas.recipe import ColumnMap
from stages.pool.chunk import STRUCTURED, Chunk, carried, mapped, shown
from stages.pool.extra import as_json
from stages.pool.files import PoolFile
from stages.pool.lines import MAX_LINE, Overlong, lines

CHUNK_ROWS = 8192
CHUNK_CHARS = 16 << 20
_REREAD = 64 << 20
"""Bytes that may be read a second time per file; beyond, every line of a broken record is a malformed row."""
_DELIMITERS = {"csv": ",", "tsv": "\t"}


@dataclass(frozen=True, slots=True)
class Malformed:
    """A record that is not one."""

    problem: str


def header(file: PoolFile) -> list[str]:
    """Column names. Raises WrongRequest when the file has none."""
    names = next(_records(file, None), None)
    if not isinstance(names, list):
        problem = names.problem if names else "it is empty"
        raise WrongRequest(f"pool file {file.path} has no header: {problem}", "give it a first line of column names")
    return names


def read(file: PoolFile, columns: ColumnMap, extra: bool) -> Iterator[Chunk]:
    """The file's rows, in chunks of bounded size."""
    names = header(file)
    records = _records(file, len(names))
    next(records, None)  # the header
    held: list[list[str] | Malformed] = []
    chars = 0
    for record in records:
        held.append(record)
        chars += 0 if isinstance(record, Malformed) else sum(map(len, record))
        if len(held) == CHUNK_ROWS or chars > CHUNK_CHARS:
            yield _chunk(held, names, columns, extra)
            held, chars = [], 0
    if held:
        yield _chunk(held, names, columns, extra)


def _chunk(records: list[list[str] | Malformed], names: list[str], columns: ColumnMap, extra: bool) -> Chunk:
    malformed = {i: r.problem for i, r in enumerate(records) if isinstance(r, Malformed)}
    empty = [None] * len(names)
    values = zip(*(empty if isinstance(r, Malformed) else r for r in records), strict=True)
    table = dict(zip(names, (pa.array(v, pa.string()) for v in values), strict=True))
    roles = mapped(columns)
    lists = {role: roles.pop(role) for role in STRUCTURED if role in roles}
    others = {name: table[name] for name in carried(names, columns)} if extra else {}
    return Chunk(
        rows=len(records),
        text={role: table[name] for role, name in roles.items()},
        structured={role: table[name].to_pylist() for role, name in lists.items()},
        extra=_without(malformed, as_json(pa.table(others))) if others else None,
        malformed=malformed,
    )


def _without(malformed: dict[int, str], column: pa.Array) -> pa.Array:
    """Null where there was no record."""
    if not malformed:
        return column
    return pa.array([None if i in malformed else v for i, v in enumerate(column.to_pylist())], pa.string())


def _records(file: PoolFile, width: int | None) -> Iterator[list[str] | Malformed]:
    """Records, the header first; `width` None asks for no particular number of fields."""
    delimiter = _DELIMITERS[file.format]
    feed = _Feed(lines(file, newlines=True))
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    while True:
        feed.taken.clear()
        feed.size, feed.problem, problem = 0, None, None
        try:
            record = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Runaway) as error:
            record, problem = [], str(error)
            reader = csv.reader(feed, delimiter=delimiter, strict=True)
        if problem is None and not record:
            continue
        bare = _bare(feed.taken[0], width) if file.format == "tsv" and (problem or _odd(record, width)) else None
        if bare is not None:
            feed.give_back(1)
            yield bare
        elif problem is not None:
            yield from _recovered(feed, problem)
        elif feed.problem is not None or width not in (None, len(record)):
            yield Malformed(feed.problem or f"{len(record)} fields where the header has {width}")
        else:
            yield record


def _odd(record: list[str], width: int | None) -> bool:
    """Whether quotes seem to have meant nothing: the count is wrong, or a field has swallowed a tab."""
    return width not in (None, len(record)) or any("\t" in field for field in record)


def _recovered(feed: "_Feed", problem: str) -> Iterator[Malformed]:
    """The first line is malformed and the rest is read again, while the budget for that lasts."""
    spent = len(feed.taken) if feed.spent > _REREAD else 1
    evidence = [f"{problem}: {shown(line.decode('utf-8', 'replace'))}" for line in feed.taken[:spent]]
    feed.give_back(spent)
    yield from map(Malformed, evidence)


def _bare(line: bytes, width: int | None) -> list[str] | None:
    """A TSV line without any quoting; None when its tabs do not fit the header."""
    try:
        fields = line.decode().rstrip("\r\n").split("\t")
    except UnicodeDecodeError:
        return None
    return fields if len(fields) == width else None


class _Runaway(Exception):
    """A record has grown beyond what a record may hold: somewhere a quote was not closed."""


class _Feed:
    """Lines for csv.reader, which remembers those of the record at hand so that they can be given back."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source
        self._back: deque[bytes] = deque()
        self.taken: list[bytes] = []
        self.size = 0
        self.spent = 0
        self.problem: str | None = None
        """What is wrong with the record at hand as text, before any parsing."""

    def __iter__(self) -> "_Feed":
        return self

    def __next__(self) -> str:
        line = self._back.popleft() if self._back else next(self._source)
        self.taken.append(line)
        self.size += len(line)
        if self.size > MAX_LINE:
            raise _Runaway(f"a record of more than {MAX_LINE} bytes")
        if type(line) is Overlong:
            self.problem = f"a line of more than {MAX_LINE} bytes"
            return "overlong"
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.problem = f"invalid UTF-8: {shown(line[max(0, error.start - 10) : error.end + 10])}"
            return line.decode("utf-8", "replace")

    def give_back(self, keep: int) -> None:
        """All lines of the record but the first `keep` will be read again."""
        rest = self.taken[keep:]
        self._back.extendleft(reversed(rest))
        self.spent += sum(map(len, rest))
