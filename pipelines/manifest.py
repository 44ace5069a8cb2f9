"""manifest.json: every file of a build with its size and sha256, written last.

Listed is what the recipe's build consists of: its families, groups, selection, shards, ledger, recipe.yaml, and the
pages that people read. Not listed: `logs/`, the reply cache, order files, and families that the recipe no longer takes
(they stay, so that taking them up again costs nothing).
"""

from collections.abc import Iterable

from pipelines.ledger import COUNTS
from schemas.errors import WrongData
from schemas.manifest import FileEntry, Manifest
from schemas.recipe import Recipe
from stages.ahead import ahead
from stages.families import FAMILIES, all_families_of
from stages.store import Seal, Store, digest

MANIFEST = "manifest.json"
_ASIDE = ("logs/", "orders/", "replies/")
_THREADS = 8


def write_manifest(store: Store, recipe: Recipe) -> Manifest:
    """Hash what is there and commit manifest.json. Raises WrongData where the ledger or a tar's index is missing."""
    sizes = manifest_files(store, recipe)
    seals = store.seals([name for name in sizes if name.endswith(".parquet")])
    torn = [name for name, seal in seals.items() if seal is None]
    if torn:
        raise WrongData(f"{torn[0]} cannot be read", "delete it and run the build again")
    entries = list(ahead(lambda name: _entry(store, name, sizes[name], seals), sizes, _THREADS))
    counts = store.read_table(COUNTS).to_pylist()
    lines = [row for row in counts if row["reason"] is None]
    manifest = Manifest(
        recipe=recipe.name,
        fingerprint=build_fingerprint(recipe, {n: s for n, s in seals.items() if s is not None}),
        inputs=lines[0]["rows_in"],
        kept=lines[-1]["kept"],
        rejected={f"{row['stage']}/{row['reason']}": row["rejected"] for row in counts if row["reason"] is not None},
        shards=[e for e in entries if is_shard(e.path)],
        files=[e for e in entries if not is_shard(e.path)],
    )
    text = manifest.model_dump_json(indent=1) + "\n"
    if not (store.exists(MANIFEST) and store.read_bytes(MANIFEST) == text.encode()):
        store.write_bytes(MANIFEST, text.encode())
    return manifest


def build_fingerprint(recipe: Recipe, seals: dict[str, Seal]) -> str:
    """Hash of what decided a build: the recipe, and what each file was made from."""
    return digest({"recipe": recipe.decisive(), "files": {name: seal.fingerprint for name, seal in seals.items()}})


def read_manifest(store: Store) -> Manifest:
    """Raises WrongData when it is missing or not a manifest."""
    if not store.exists(MANIFEST):
        raise WrongData(f"{MANIFEST} is missing from {store.url}: the build is not done", "run the build again")
    try:
        return Manifest.model_validate_json(store.read_bytes(MANIFEST))
    except ValueError as error:
        raise WrongData(f"{MANIFEST} cannot be read: {_first_line(error)}", "run the build again") from error


def manifest_files(store: Store, recipe: Recipe) -> dict[str, int]:
    """Names and sizes of the files that belong in the manifest, in order of name."""
    dropped = tuple(f"{family}/" for family in set(FAMILIES) - set(all_families_of(recipe)))
    return {
        name: size
        for name, size in store.walk().items()
        if not name.startswith((*_ASIDE, *dropped)) and name != MANIFEST
    }


def is_shard(name: str) -> bool:
    """Whether a file is a final tar."""
    return name.startswith("shards/") and name.endswith(".tar")


def index_of_tar(name: str) -> str:
    """The Parquet file whose seal knows a tar's hash: `parts/00042.tar` → `parts/00042.parquet`."""
    return name.removesuffix(".tar") + ".parquet"


def _entry(store: Store, name: str, size: int, seals: dict[str, Seal | None]) -> FileEntry:
    if not name.endswith(".tar"):
        return FileEntry(path=name, bytes=size, sha256=store.sha256(name))
    seal = seals.get(index_of_tar(name))
    if seal is None or seal.extra.get("tar_bytes") != size:
        raise WrongData(f"{name} is not the tar of {index_of_tar(name)}", "run the build again")
    return FileEntry(path=name, bytes=size, sha256=seal.extra["tar_sha256"])


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]


def listed(manifest: Manifest) -> Iterable[FileEntry]:
    """Every file that a manifest lists."""
    return [*manifest.shards, *manifest.files]
