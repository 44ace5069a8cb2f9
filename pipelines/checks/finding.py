"""What verify finds, by file, and what every check needs to know."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.manifest import FileEntry
from stages.store import Store

_PER_FILE = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be. `file` is relative to the build."""

    file: str
    what: str


@dataclass(frozen=True, slots=True)
class Scope:
    """The build under check and what its manifest says of each file."""

    store: Store
    entries: dict[str, FileEntry]
    sizes: dict[str, int]
    """Files that are there, with their sizes."""

    def against_manifest(self, name: str, size: int, sha256: str) -> list[Finding]:
        """Whether a file's bytes are those that the manifest lists. A file it does not list is found elsewhere."""
        entry = self.entries.get(name)
        if entry is None or (entry.bytes, entry.sha256) == (size, sha256):
            return []
        if entry.bytes != size:
            return [Finding(name, f"has {size} bytes, the manifest says {entry.bytes}")]
        return [Finding(name, f"its sha256 is {sha256[:12]}…, the manifest says {entry.sha256[:12]}…")]


@dataclass
class Findings:
    """All findings in order of discovery; each once, a file's after the tenth counted and not kept."""

    kept: list[Finding] = field(default_factory=list)
    _per_file: Counter[str] = field(default_factory=Counter)
    _seen: set[Finding] = field(default_factory=set)

    def add(self, found: Iterable[Finding]) -> None:
        for finding in found:
            if finding in self._seen:
                continue
            self._seen.add(finding)
            self._per_file[finding.file] += 1
            if self._per_file[finding.file] <= _PER_FILE:
                self.kept.append(finding)

    def report(self) -> list[Finding]:
        """What was kept, and a line for each file with more."""
        more = {file: count - _PER_FILE for file, count in self._per_file.items() if count > _PER_FILE}
        return self.kept + [Finding(file, f"and {count} findings more") for file, count in more.items()]


def some(names: list[str], what: str, limit: int = 3) -> str:
    """`sample a, sample b and 7 more WHAT`: a short list of samples as the subject of a finding."""
    shown = ", ".join(f"sample {name}" for name in names[:limit])
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return f"{shown}{more} {what}"
