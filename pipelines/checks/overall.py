"""What concerns a build as a whole: its manifest, its recipe, the list of its files, the counts."""

from collections import Counter
from typing import Any

import pyarrow as pa
import yaml
from pydantic import ValidationError

from pipelines.checks.finding import Finding, Scope, some
from pipelines.checks.parquet import check_parquet
from pipelines.ledger import COUNTS, survival
from pipelines.manifest import MANIFEST, build_fingerprint, manifest_files, read_manifest
from schemas.errors import WrongData
from schemas.ledger import Duplicate, StageCount
from schemas.manifest import Manifest
from schemas.recipe import Recipe
from stages.ahead import ahead
from stages.families import AFTER_SELECT, FINAL, SELECTION, final_file
from stages.store import Seal, Store

DUPLICATES = "groups/duplicates.parquet"
RECIPE = "recipe.yaml"
_OURS = (
    "pool/", "parts/", "measures/", "groups/", *(f"{family}/" for family in AFTER_SELECT), "ledger/", "shards/",
    SELECTION, FINAL, RECIPE,
)  # fmt: skip


def open_manifest(store: Store) -> tuple[Manifest | None, list[Finding]]:
    """The manifest, or what is wrong with it."""
    try:
        return read_manifest(store), []
    except WrongData as error:
        return None, [Finding(MANIFEST, error.what.removeprefix(f"{MANIFEST} "))]


def open_recipe(store: Store) -> tuple[Recipe | None, list[Finding]]:
    """The recipe that the build says it was made from, or what is wrong with it."""
    if not store.exists(RECIPE):
        return None, [Finding(RECIPE, "is missing")]
    try:
        return Recipe.model_validate(yaml.safe_load(store.read_bytes(RECIPE))), []
    except (yaml.YAMLError, ValidationError, ValueError) as error:
        return None, [Finding(RECIPE, f"cannot be read: {str(error).splitlines()[0]}")]


def check_listing(scope: Scope, recipe: Recipe) -> list[Finding]:
    """Files that the manifest lists and that are gone, and files of ours that it does not list."""
    if not scope.entries:
        return []
    there = manifest_files(scope.store, recipe)
    found = [Finding(name, "is missing") for name in scope.entries if name not in scope.sizes]
    found += [
        Finding(name, "is not in the manifest")
        for name in there
        if name not in scope.entries and name.startswith(_OURS)
    ]
    return found


def check_bytes(scope: Scope, names: list[str]) -> list[Finding]:
    """Sizes and hashes of files that no other check reads."""

    def one(name: str) -> list[Finding]:
        if name not in scope.sizes:
            return [Finding(name, "is missing")]
        return scope.against_manifest(name, scope.sizes[name], scope.store.sha256(name))

    return [finding for found in ahead(one, names) for finding in found]


def check_groups(scope: Scope) -> tuple[pa.Table | None, list[Finding]]:
    """Duplicate groups: two members or more, named after the smallest, linked inside."""
    if DUPLICATES not in scope.sizes and DUPLICATES not in scope.entries:
        return None, []
    checked = check_parquet(scope, DUPLICATES, Duplicate.arrow_schema())
    if checked.table is None:
        return None, checked.findings
    group_of: dict[str, str] = {}
    members: dict[str, list[str]] = {}
    rows: list[dict[str, Any]] = checked.table.select(["sample_id", "group", "linked_to"]).to_pylist()
    for row in rows:
        group_of[row["sample_id"]] = row["group"]
        members.setdefault(row["group"], []).append(row["sample_id"])
    wrong = [group for group, ids in members.items() if len(ids) < 2 or min(ids) != group]
    stray = [row["sample_id"] for row in rows if group_of.get(row["linked_to"]) != row["group"]]
    found = list(checked.findings)
    if wrong:
        found.append(Finding(DUPLICATES, f"group {wrong[0]} is not one"))
    if stray:
        found.append(Finding(DUPLICATES, some(stray, "linked to what is not in the same group")))
    return checked.table, found


def check_counts(scope: Scope, recipe: Recipe, inputs: int, counts: Counter[tuple[str, str]]) -> list[Finding]:
    """ledger/counts.parquet against rows counted anew."""
    checked = check_parquet(scope, COUNTS, StageCount.arrow_schema())
    if checked.table is None:
        return checked.findings
    try:
        wanted = {(r["stage"], r["reason"]): r for r in survival(recipe, inputs, counts)}
    except WrongData as error:
        return [*checked.findings, Finding(final_file(recipe), error.what)]
    there = {(r["stage"], r["reason"]): r for r in checked.table.to_pylist()}
    found = list(checked.findings)
    for key in dict.fromkeys([*wanted, *there]):
        if wanted.get(key) != there.get(key):
            line = "/".join(k for k in key if k)
            found.append(Finding(COUNTS, f"{line}: says {_line(there.get(key))}, counted {_line(wanted.get(key))}"))
    return found


def _line(row: dict[str, Any] | None) -> str:
    return "nothing" if row is None else f"{row['rows_in']} in, {row['kept']} kept, {row['rejected']} rejected"


def check_totals(manifest: Manifest, inputs: int, kept: int, counts: Counter[tuple[str, str]] | None) -> list[Finding]:
    """The manifest's counts against rows counted anew; `counts` is None where they could not be counted."""
    found: list[Finding] = []
    if manifest.inputs != inputs:
        found.append(Finding(MANIFEST, f"says {manifest.inputs} inputs, counted {inputs}"))
    if manifest.kept != kept:
        found.append(Finding(MANIFEST, f"says {manifest.kept} kept, counted {kept}"))
    if counts is None:
        return found
    counted = {f"{stage}/{reason}": count for (stage, reason), count in counts.items()}
    for name in sorted({*counted, *manifest.rejected}):
        if counted.get(name) != manifest.rejected.get(name):
            what = f"says {manifest.rejected.get(name, 0)} rejected as {name}, counted {counted.get(name, 0)}"
            found.append(Finding(MANIFEST, what))
    return found


def check_fingerprint(scope: Scope, manifest: Manifest, recipe: Recipe) -> list[Finding]:
    """The manifest's fingerprint is that of the recipe and of the files' seals."""
    names = [name for name in manifest_files(scope.store, recipe) if name.endswith(".parquet")]
    seals: dict[str, Seal] = {n: s for n, s in scope.store.seals(names).items() if s is not None}
    if len(seals) < len(names) or manifest.fingerprint == build_fingerprint(recipe, seals):
        return []  # an unreadable file is found elsewhere
    return [Finding(MANIFEST, "its fingerprint is not that of recipe.yaml and the files' seals")]
