"""`pairmill export`: a build's conversations, or its masks, as files that training code reads.

In: the shards of a finished build, in their order; nothing but a sample's own JSON and picture is read. Out, in a new
folder, for every split: `train.json` or `.jsonl`, and beside it `train_several` (conversations over several pictures),
`train_pairs` (preference pairs) and `train_captions` (samples without a conversation, where asked for), because few
consumers read two of these in one file; `dataset_info.json` (sharegpt); `images/SHARD/KEY.EXT` where asked for; and
`export.json`, what was written and what was left out, last. Masks: one file for every split (`exports/coco.py`).

The bytes depend on the build and the options alone. A conversation is in a file or counted under a reason (`Left`).
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.exports.coco import Coco
from pipelines.exports.folder import Out, out_folder
from pipelines.exports.pictures import Pictures
from pipelines.exports.read import Sample, samples, shards_of
from pipelines.exports.shapes import INFO, dataset_info, llava, messages, sharegpt
from pipelines.exports.talks import Left, Talk, caption_talk, talks
from pipelines.manifest import read_manifest
from pipelines.progress import Silent, Watcher
from schemas.errors import WrongRequest
from stages.store import Store

STAGE = "export"
REPORT = "export.json"
COCO = "coco"
SUFFIX = {"llava": ".json", "sharegpt": ".jsonl", "messages": ".jsonl"}
"""Format of conversations → ending of its files; one JSON array, or one record per line."""
PICTURES = ("list", "path", "data")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What is exported, and how."""

    images: bool = False
    """Copy the pictures out of the shards, as stored, to `images/`."""
    kinds: tuple[str, ...] = ()
    """Only conversations of these kinds; empty: all."""
    captions: bool = False
    """Samples without a conversation become one question and their caption, for projector alignment."""
    pictures: str = "list"
    """Format messages. list: `{"type": "image"}` in the text and a column `images` of paths. path: each part has its
    path. data: OpenAI's `image_url` with the picture itself as a data URL."""
    all_masks: bool = False
    """Format coco: every mask that a prompt gave, and not the best alone."""
    watcher: Watcher = field(default_factory=Silent)


@dataclass(slots=True)
class Exported:
    """What an export wrote and left out. `export.json`."""

    build: str = ""
    """Fingerprint of the build."""
    format: str = ""
    records: dict[str, int] = field(default_factory=dict[str, int])
    """File → records."""
    images: int = 0
    """Pictures copied."""
    samples: int = 0
    kinds: dict[str, int] = field(default_factory=dict[str, int])
    """Kind of conversation, or prompt of a mask → records."""
    left: dict[str, int] = field(default_factory=dict[str, int])
    """Reason → conversations (or samples without one), or masks, that are in no file."""
    turned: int = 0
    """Pictures that need their EXIF orientation applied before boxes, sides and texts fit them."""


def export(store: Store, format: str, out: Path, options: ExportOptions | None = None) -> Exported:
    """Write the export; see above. `format`: llava, sharegpt, messages; coco.

    Raises WrongRequest where there is nothing to export or `out` is not empty, WrongData where the build is not done
    or a shard is damaged; `out` is then left without a file.
    """
    options = options or ExportOptions()
    _require(store, format, options)
    manifest = read_manifest(store)
    shards = shards_of(manifest)
    pictures, said = Pictures(store, shards), Exported(build=manifest.fingerprint, format=format)
    build = store.url, manifest.recipe
    run = Coco(pictures, said, options, build) if format == COCO else _Talks(pictures, said, options, build)
    with out_folder(out) as folder:
        options.watcher.start(STAGE, len(shards))
        for shard in shards:
            used = [run.add(sample, folder) for sample in samples(store, shard, masks=format == COCO)]
            said.images += pictures.copy(folder, shard)
            options.watcher.advance(STAGE, len(used), sum(used))
        run.finish(folder)
        said.images += sum(pictures.copy(folder, shard) for shard in pictures.noted())
        folder.write(REPORT, {**asdict(said), **{k: _sorted(getattr(said, k)) for k in _COUNTS}})
        options.watcher.finish(STAGE, f"{sum(said.records.values()):,} records of {said.samples:,} samples")
    return said


_SYNTHESIZE = "add `synthesize` to its recipe and build again, or export its captions with --captions"
_COUNTS = ("records", "kinds", "left")


def _sorted(counts: dict[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _require(store: Store, format: str, options: ExportOptions) -> None:
    if not store.exists("recipe.yaml"):
        raise WrongRequest(
            f"{store.url!r} is not a build folder", "give a folder that `pairmill build` or `demo` wrote"
        )
    if format not in (*SUFFIX, COCO):
        raise WrongRequest(f"unknown format {format!r}", f"choose one of {', '.join((*SUFFIX, COCO))}")
    if format == COCO and (options.kinds or options.captions):
        raise WrongRequest("--kind and --captions choose conversations, and coco has masks", "leave them out")
    if format != COCO and options.all_masks:
        raise WrongRequest(f"--all-masks belongs to the format {COCO}", "leave it out")
    if options.pictures not in PICTURES:
        raise WrongRequest(f"unknown --pictures {options.pictures!r}", f"choose one of {', '.join(PICTURES)}")
    if options.pictures != "list" and format != "messages":
        raise WrongRequest(f"--pictures {options.pictures} belongs to the format messages", "leave it out")
    if options.pictures == "data" and options.images:
        raise WrongRequest("--pictures data puts the pictures into the records", "leave out --images")


class _Talks:
    """An export of conversations on its way. `build`: its URL and its recipe's name."""

    def __init__(self, pictures: Pictures, said: Exported, options: ExportOptions, build: tuple[str, str]) -> None:
        self.pictures, self.said, self._options, (self._url, self._recipe) = pictures, said, options, build
        self._format = said.format
        self._seen: Counter[str] = Counter()
        self._shape: Callable[[Talk, list[str]], dict[str, Any]] = self._shaped()

    def _shaped(self) -> Callable[[Talk, list[str]], dict[str, Any]]:
        if self._format == "messages":
            listed = self._options.pictures == "list"
            return lambda talk, paths: messages(talk, self._parts(talk, paths), paths if listed else None)
        return llava if self._format == "llava" else sharegpt

    def _parts(self, talk: Talk, paths: list[str]) -> list[dict[str, Any]]:
        """The content part that stands for each picture."""
        if self._options.pictures == "data":
            urls = [self.pictures.data_url(sample_id) for sample_id in talk.images]
            return [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        if self._options.pictures == "path":
            return [{"type": "image", "path": path} for path in paths]
        return [{"type": "image"} for _ in paths]

    def add(self, sample: Sample, folder: Out) -> bool:
        """Every conversation of a sample, to the file where it belongs; whether any is in one."""
        if sample.conversations is None and not self._options.captions:
            raise WrongRequest(f"{self._url} has no conversations", _SYNTHESIZE)
        self.said.samples += 1
        used = False
        self.pictures.seen(sample)
        for talk in self._talks(sample):
            if isinstance(talk, Left):
                self._leave(talk)
                continue
            paths = [self.pictures.path(sample_id) for sample_id in talk.images]
            if None in paths:
                self._leave(Left.picture_missing)
                continue
            found = [path for path in paths if path is not None]
            name = f"{sample.split}{talk.group}{SUFFIX[self._format]}"
            folder.add(name, self._shape(talk, found))
            used = True
            if self._options.images:
                self.pictures.use(talk.images)
            self.said.records[name] = self.said.records.get(name, 0) + 1
            self.said.kinds[talk.kind] = self.said.kinds.get(talk.kind, 0) + 1
            self.said.turned += sample.turned
        return used

    def _talks(self, sample: Sample) -> Iterator[Talk | Left]:
        if not sample.conversations:
            yield caption_talk(sample) if self._options.captions else Left.no_conversation
            return
        for n, conversation in enumerate(sample.conversations):
            self._seen[conversation.kind] += 1
            if self._options.kinds and conversation.kind not in self._options.kinds:
                yield Left.other_kind
            elif conversation.rejected is not None and self._format == "llava":
                yield Left.pair
            else:
                yield talks(sample, n, conversation)

    def _leave(self, why: Left) -> None:
        self.said.left[why.value] = self.said.left.get(why.value, 0) + 1

    def finish(self, folder: Out) -> None:
        """What describes the files. Raises WrongRequest where a kind asked for, or anything at all, was not there."""
        self._require_found()
        if self._format == "sharegpt":
            folder.write(INFO, dataset_info(self._recipe, self.said.records))

    def _require_found(self) -> None:
        there = f"it has {', '.join(sorted(self._seen))}" if self._seen else ""
        missing = [kind for kind in self._options.kinds if kind not in self._seen]
        if missing and self._seen:
            raise WrongRequest(f"{self._url} has no conversation of kind {missing[0]!r}", there)
        if self.said.records:
            return
        if self._seen:
            left = ", ".join(f"{count:,} {why}" for why, count in _sorted(self.said.left).items())
            raise WrongRequest(f"no conversation of {self._url} fits the format {self._format}: {left}", there)
        nothing = f"{self._url} has no conversations in {self.said.samples:,} samples"
        raise WrongRequest(nothing, "nor usable captions" if self._options.captions else _SYNTHESIZE)
