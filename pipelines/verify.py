"""`pairmill verify`: everything that a finished build claims, recomputed from its bytes.

Nothing recorded is trusted. Every file is hashed again, every column held to its contract, every tar member hashed and
compared with its index; decisions are taken again from the families' reasons; the JSON of every kept sample is made
anew and compared with the one in its shard; and every pool row is found exactly once, in a shard or in the ledger.

A file is read once, a few parts at a time; shards are matched with the families outside memory. Damage is a finding
that names the file, never an exception: what cannot be read is said to be so, and the rest is still checked.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from pipelines.checks import overall
from pipelines.checks.accounts import Accounts
from pipelines.checks.decisions import PartTask
from pipelines.checks.finding import Finding, Findings, Scope
from pipelines.checks.part import check_part
from pipelines.checks.shard import check_shard
from pipelines.checks.slices import IndexCheck, LedgerSlices, SelectionSlices
from pipelines.ledger import COUNTS, ledger_file
from pipelines.manifest import MANIFEST, listed
from schemas.errors import WrongRequest
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from stages.ahead import ahead
from stages.families import all_families_of, final_file, part_file
from stages.shard.run import INDEX
from stages.store import Store

_PART = re.compile(r"(pool|parts|measures/[a-z]+)/(\d{5,})\.(?:parquet|tar)")
_SHARD = re.compile(r"shards/([a-z]+-\d{6,})\.(?:parquet|tar)")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What verify found; `ok` when there are no findings and every row is accounted for."""

    ok: bool
    inputs: int
    kept: int
    """Samples that are kept and lie in a shard."""
    rejected: int
    """Rows with a line in the ledger."""
    unaccounted: int
    """inputs − kept − rejected."""
    findings: list[Finding]

    def as_json(self) -> dict[str, Any]:
        """`{ok, inputs, kept, rejected, unaccounted, findings: [{file, what}]}`."""
        return asdict(self)


def verify(store: Store, threads: int = 4) -> VerifyReport:
    """Recompute a build. Raises WrongRequest where there is none; damage is in the report."""
    sizes = store.walk()
    if not any(name in (MANIFEST, overall.RECIPE) or _PART.fullmatch(name) for name in sizes):
        raise WrongRequest(f"{store.url} holds no build", "give the folder that `pairmill build --out` wrote")
    findings = Findings()
    manifest, found = overall.open_manifest(store)
    findings.add(found)
    recipe, found = overall.open_recipe(store)
    findings.add(found)
    entries = {entry.path: entry for entry in listed(manifest)} if manifest else {}
    scope = Scope(store, entries, sizes)
    if recipe is None:
        findings.add(overall.check_bytes(scope, list(entries)))
        return VerifyReport(False, 0, 0, 0, 0, findings.report())
    with Accounts() as accounts:
        return _Verification(scope, recipe, findings, accounts, threads).run(manifest)


@dataclass
class _Verification:
    """One run: reads every file once, then draws up the account."""

    scope: Scope
    recipe: Recipe
    findings: Findings
    accounts: Accounts
    threads: int
    inputs: int = 0
    rejected: int = 0
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def families(self) -> list[str]:
        return all_families_of(self.recipe)

    def run(self, manifest: Manifest | None) -> VerifyReport:
        names = {*self.scope.entries, *self.scope.sizes}
        families = self.families
        parts = 1 + max((int(m[2]) for n in names if (m := _PART.fullmatch(n)) and m[1] in families), default=-1)
        shards = sorted({m[1] for n in names if (m := _SHARD.fullmatch(n))})
        self.findings.add(overall.check_listing(self.scope, self.recipe))
        counted = self._parts(parts)
        self._shards(shards)
        groups, found = overall.check_groups(self.scope)
        self.findings.add(found)
        self.findings.add(overall.check_bytes(self.scope, self._others(parts, shards)))
        self.findings.add(self.accounts.repeated())
        self.findings.add(self.accounts.compare())
        if groups is not None:
            self.findings.add(self.accounts.crowded(groups))
        kept = self.accounts.kept()
        if counted:
            self.findings.add(overall.check_counts(self.scope, self.recipe, self.inputs, self.counts))
        if manifest is not None:
            counts = self.counts if counted else None
            self.findings.add(overall.check_totals(manifest, self.inputs, kept, counts))
            self.findings.add(overall.check_fingerprint(self.scope, manifest, self.recipe))
        report = self.findings.report()
        unaccounted = self.inputs - kept - self.rejected
        return VerifyReport(not report and unaccounted == 0, self.inputs, kept, self.rejected, unaccounted, report)

    def _parts(self, parts: int) -> bool:
        """Check every part; whether the final states could be read, and so every rejection counted."""
        families, decided = self.families, final_file(self.recipe)
        selection = SelectionSlices(self.scope, self.findings, decided)
        ledger = LedgerSlices(self.scope, self.findings, parts)

        def tasks() -> Iterator[PartTask]:
            for part in range(parts):
                yield PartTask(part, selection.of(part), ledger.of(part), decided)

        for done in ahead(lambda task: check_part(self.scope, self.recipe, families, task), tasks(), self.threads):
            self.findings.add(done.findings)
            self.inputs += done.rows
            self.rejected += done.rejections
            self.counts.update(done.counts)
            if done.ids is not None:
                self.accounts.add("pool", pa.table([done.ids], names=["sample_id"]))
            if done.kept is not None:
                self.accounts.add("kept", done.kept)
        selection.close()
        return selection.readable

    def _shards(self, shards: list[str]) -> None:
        index = IndexCheck(self.scope, self.findings)
        for done in ahead(lambda name: check_shard(self.scope, name), shards, self.threads):
            self.findings.add(done.findings)
            self.accounts.add("placed", done.placed)
            index.next(done.name, done.index)
        index.close()

    def _others(self, parts: int, shards: list[str]) -> list[str]:
        """Listed files that no other check reads: recipe.yaml, pages."""
        read = {final_file(self.recipe), INDEX, COUNTS, overall.DUPLICATES}
        for part in range(parts):
            read |= {part_file(family, part) for family in self.families}
            read |= {f"parts/{part:05d}.tar", ledger_file(part)}
        read |= {f"shards/{name}.{ext}" for name in shards for ext in ("tar", "parquet")}
        return [name for name in self.scope.entries if name not in read]
