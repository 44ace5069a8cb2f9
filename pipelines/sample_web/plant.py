"""Decide every row of a pool: its picture, its caption, its address, and what is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from pipelines.sample_web.addresses import addressed, fresh_url
from pipelines.sample_web.captions import sentence
from pipelines.sample_web.claims import Claims, HardKind, holds, make_claims, spoil
from pipelines.sample_web.payloads import Edit, Encoding, Payload, encode, labelled_boxes
from pipelines.sample_web.scenes import make_scene
from pipelines.sample_web.site import Behaviour, Page
from pipelines.sample_web.troubles import Trouble, planned

SEEDS_PER_POOL = 100_000
"""Scene seeds of pool seed s: s·100,000 + n; with s < 90 they stay below the small CLIP's own scenes."""
BOXED = 0.4
"""Share of rows that have boxes; most pools have them for some."""

_EDITS: dict[Trouble, tuple[Edit, ...]] = {
    Trouble.near_requality: (Edit.requality,),
    Trouble.near_half: (Edit.half,),
    Trouble.near_crop: (Edit.crop,),
    Trouble.near_brightness: (Edit.brighter, Edit.darker),
}
_ENCODINGS: dict[Trouble, Encoding] = {
    Trouble.png: Encoding.png,
    Trouble.png_alpha: Encoding.png_alpha,
    Trouble.png_16bit: Encoding.png_16bit,
    Trouble.grey: Encoding.jpeg_grey,
    Trouble.cmyk: Encoding.jpeg_cmyk,
    Trouble.animated_gif: Encoding.gif_animated,
    Trouble.webp: Encoding.webp,
    Trouble.truncated_file: Encoding.jpeg_truncated,
}
_LICENCES = ("CC0-1.0", "CC-BY-4.0", "CC-BY-SA-4.0", "unknown", None)
_BAD_CAPTIONS: dict[Trouble, Callable[[Random], str | None]] = {
    Trouble.caption_missing: lambda rng: None,
    Trouble.caption_empty: lambda rng: rng.choice(("", "  ", "\t\n")),
    Trouble.caption_repeats: lambda rng: " ".join([rng.choice(("buy", "shapes", "cheap wallpaper"))] * 24),
    Trouble.caption_symbols: lambda rng: "".join(rng.choice("#@$%&*_=+|<>/0123456789 ") for _ in range(60)),
}


@dataclass(frozen=True, slots=True)
class Planted:
    """One row with everything that is known about it."""

    trouble: Trouble
    url: str | None
    caption: str | None
    payload: Payload | None
    claims: Claims | None
    true_caption: str | None
    source_id: str
    pages: list[Page] = field(default_factory=list)
    group: str | None = None
    group_kind: str | None = None
    swapped: bool = False
    hard_kind: HardKind | None = None
    sha256: str | None = None
    boxes: list[dict[str, Any]] | None = None
    language: str | None = "en"
    licence: str | None = None
    width: int | None = None
    height: int | None = None


def plant(rows: int, seed: int, boxed: float = BOXED) -> list[Planted]:
    """Every row of the pool, in pool order; a share `boxed` of them has boxes."""
    rng = Random(f"pool:{seed}")
    counts = planned(rows)
    derived = (Trouble.exact_duplicate, Trouble.repeated_row, *_EDITS)
    first = [trouble for trouble, count in counts.items() if trouble not in derived for _ in range(count)]
    rng.shuffle(first)
    planted = [_original(trouble, seed * SEEDS_PER_POOL + n, rng, boxed) for n, trouble in enumerate(first)]
    planted = _swap(planted, rng)
    planted = _with_copies(planted, counts, rng)
    rng.shuffle(planted)
    return _originals_first(planted)


def _originals_first(planted: list[Planted]) -> list[Planted]:
    """Of a row and its repetition, the later one in the pool is the repetition."""
    rows, seen = list(planted), {}
    for i, p in enumerate(rows):
        key = (p.source_id, p.url, p.caption)
        if key in seen and rows[seen[key]].trouble is Trouble.repeated_row:
            rows[seen[key]], rows[i] = p, rows[seen[key]]
        seen.setdefault(key, i)
    return rows


def _original(trouble: Trouble, seed: int, rng: Random, boxed: float) -> Planted:
    """A row with a scene of its own."""
    payload = Payload(
        seed,
        _ENCODINGS.get(trouble, Encoding.jpeg),
        orientation=rng.randint(2, 8) if trouble is Trouble.exif_rotated else 1,
    )
    scene = make_scene(seed)
    claims = make_claims(scene, rng, coloured=trouble is not Trouble.grey)
    words = rng.getrandbits(48)
    caption = true_caption = sentence(claims, words)
    hard_kind = None
    if trouble is Trouble.hard_caption:
        hard_kind, wrong = _hard(claims, seed, rng)
        caption = sentence(wrong, words)
    if trouble in _BAD_CAPTIONS:
        caption = _BAD_CAPTIONS[trouble](rng)
    url, pages = addressed(trouble, payload, rng)
    has_boxes, has_size = rng.random() < boxed, rng.random() < 0.5
    return Planted(
        trouble, url, caption, payload, claims, true_caption,
        source_id=f"s{seed:09d}", pages=pages, hard_kind=hard_kind, sha256=_promised(trouble, payload),
        boxes=labelled_boxes(payload, scene) if has_boxes else None,
        language=rng.choice(("en", "en", "en", "en-GB", None)), licence=rng.choice(_LICENCES),
        width=scene.width if has_size else None, height=scene.height if has_size else None,
    )  # fmt: skip


def _hard(claims: Claims, seed: int, rng: Random) -> tuple[HardKind, Claims]:
    """Wrong claims of a kind drawn among the possible ones, exchange favoured because fewer scenes allow it."""
    scene = make_scene(seed)
    for kind in rng.choices(list(HardKind), weights=(2, 2, 2, 3), k=40):
        wrong = spoil(claims, scene, kind, rng)
        if wrong is not None:
            return kind, wrong
    raise AssertionError(f"scene {seed}: no wrong caption in 40 tries; a wrong count is always possible")


def _promised(trouble: Trouble, payload: Payload) -> str | None:
    if trouble is Trouble.right_sha256:
        return hashlib.sha256(encode(payload)).hexdigest()
    return hashlib.sha256(str(payload).encode()).hexdigest() if trouble is Trouble.wrong_sha256 else None


def _swap(planted: list[Planted], rng: Random) -> list[Planted]:
    """Rows marked swapped get the true caption of another sound row, one that is false of their own picture."""
    donors = [p for p in planted if p.trouble is Trouble.none]
    swapped = []
    for p in planted:
        if p.trouble is not Trouble.swapped or p.payload is None:
            swapped.append(p)
            continue
        scene = make_scene(p.payload.scene)
        fitting = [d for d in rng.sample(donors, 20) if d.claims and not holds(d.claims, scene)]
        swapped.append(replace(p, caption=fitting[0].true_caption, swapped=True))
    return swapped


def _with_copies(planted: list[Planted], counts: dict[Trouble, int], rng: Random) -> list[Planted]:
    """Append duplicates of sound rows under other addresses, and rows repeated word for word.

    One exact duplicate in ten copies a row whose own caption is swapped: the good copy must survive it.
    """
    sources = [i for i, p in enumerate(planted) if p.trouble is Trouble.none]
    misled = [i for i, p in enumerate(planted) if p.trouble is Trouble.swapped]
    rng.shuffle(sources)
    rows, copies = list(planted), []
    for trouble in (Trouble.exact_duplicate, *_EDITS):
        for n in range(counts[trouble]):
            from_misled = trouble is Trouble.exact_duplicate and n % 10 == 0 and misled
            index = misled.pop() if from_misled else sources.pop()
            group = rows[index].group or f"g-{rows[index].source_id}"
            rows[index] = replace(rows[index], group=group, group_kind="original")
            copies.append(_copy(rows[index], trouble, group, rng))
    repeated = [rows[i] for i in sources[: counts[Trouble.repeated_row]]]
    return rows + copies + [replace(p, trouble=Trouble.repeated_row) for p in repeated]


def _copy(original: Planted, trouble: Trouble, group: str, rng: Random) -> Planted:
    """The same picture, edited or not, under another address with a caption of its own."""
    if original.payload is None or original.claims is None:
        raise AssertionError(f"row {original.source_id} has no picture to copy")
    edits = _EDITS.get(trouble, (Edit.none,))
    payload = replace(original.payload, edit=rng.choice(edits))
    scene = make_scene(payload.scene)
    url = fresh_url(payload, rng, mirror=True)
    caption = sentence(original.claims, rng.getrandbits(48))
    return replace(
        original, trouble=trouble, url=url, payload=payload, caption=caption, true_caption=caption, swapped=False,
        source_id=f"c{rng.getrandbits(40):011x}", pages=[Page(url, Behaviour.image, payload)], group=group,
        group_kind="exact" if trouble is Trouble.exact_duplicate else "near", sha256=None, width=None, height=None,
        boxes=labelled_boxes(payload, scene) if original.boxes else None,
    )  # fmt: skip
