"""What is known of a sample, in the order in which it becomes known: Candidate → Fetched → measures.

Each class is the schema of one column family (plus `sample_id`, which every family repeats so that alignment can be
checked). A family file holds every row of its part, in the same order; rows that an earlier stage rejected have nulls.
"""

from typing import Annotated

import pyarrow as pa

from schemas.row import Float32, Int16, Int32, Row


class Box(Row):
    """One labelled box, in pixels of the image as stored in the pool (x, y: upper left corner)."""

    label: str | None
    x: Float32
    y: Float32
    w: Float32
    h: Float32


class Point(Row):
    """One labelled point, in pixels as in `Box`."""

    label: str | None
    x: Float32
    y: Float32


class TextLine(Row):
    """A line of text in the picture, as OCR read it; pixels as in `Box`."""

    text: str
    x: Float32
    y: Float32
    w: Float32
    h: Float32


class Key(Row):
    """What every family carries."""

    sample_id: str
    """32 hex digits: hash of the source's own key, or of url and caption; repeats of a row add their ordinal."""


class Candidate(Key):
    """A pool row as read, before anything is fetched. Family `pool`."""

    source: str
    """Name of the input file, relative to the pool's common root."""
    source_row: int
    """Row number inside that file, counted from 0."""
    url: str | None
    caption: str | None
    expected_sha256: str | None
    """Lower-case hex sha256 that the pool promises for the bytes behind url."""
    language: str | None
    """BCP 47 tag as the pool states it."""
    boxes: list[Box] | None
    points: list[Point] | None
    texts: list[TextLine] | None
    """Lines of text in the picture, as OCR read them; null: nobody read it, empty: there is none."""
    captions: list[str] | None
    """Further captions of the same picture."""
    extra: str | None
    """The row's other columns as one JSON object with sorted keys."""


class Request(Key):
    """What the download reads of a candidate, and so all of it that can make a part stale."""

    url: str | None
    expected_sha256: str | None


class Fetched(Key):
    """What the web answered."""

    url: str
    """The URL asked for, again: a part's index is readable alone."""
    final_url: str | None
    """Where redirects led; null when no request was answered."""
    http_status: Int16 | None
    """Status of the last answer; null when none came."""
    fetched_bytes: int | None
    """Bytes of the body as received (decoded from Content-Encoding)."""
    sha256: str | None
    """Lower-case hex sha256 of the body as received."""
    format: str | None
    """Format of the stored bytes by content: jpeg, png, webp, gif, bmp, tiff, avif …"""
    width: Int32 | None
    """Pixels of the stored image as shown, that is after EXIF orientation."""
    height: Int32 | None
    original_width: Int32 | None
    """Pixels of the fetched image as shown, before any resize."""
    original_height: Int32 | None
    orientation: Int16 | None
    """EXIF orientation tag (1–8) still to be applied to the stored bytes; 1 after a resize. EXIF 2.32, tag 0x0112."""
    stored_sha256: str | None
    """sha256 of the payload as stored; equals sha256 when no resize was asked for."""


class Stored(Fetched):
    """What was fetched and where it lies. Family `parts`: the index of the payload tar beside it."""

    member: str | None
    """Name in the part's tar."""
    offset: int | None
    """Byte offset of the payload (not of its tar header) in the part's tar."""
    size: int | None
    """Bytes of the payload in the part's tar."""


class Described(Key):
    """What a teacher of `synthesize` reads; boxes and text lines are in pixels of the original picture."""

    caption: str | None
    captions: list[str] | None
    language: str | None
    boxes: list[Box] | None
    texts: list[TextLine] | None
    original_width: Int32 | None
    original_height: Int32 | None


class Picture(Key):
    """What a pixel measure reads."""

    image: bytes
    """The stored bytes."""
    orientation: Int16 | None
    """EXIF orientation still to be applied."""


class Captioned(Key):
    """What a text measure reads."""

    caption: str | None


class Pair(Picture):
    """What an image-text measure reads."""

    caption: str | None


class ImageFacts(Key):
    """Family `measures/image`."""

    image_width: Int32
    """Pixels as shown (after EXIF orientation), found by decoding."""
    image_height: Int32
    aspect: Float32
    """The longer side over the shorter one, ≥ 1."""
    channels: Int16
    """Channels of the stored image before conversion to RGB: 1, 2 (grey and alpha), 3 or 4 (alpha or CMYK)."""
    image_bytes: int
    mean_luma: Float32
    """Mean Rec. 601 luma, 0–255."""
    std_luma: Float32
    """Standard deviation of luma, 0–127.5; near 0 is a blank image."""


class CaptionFacts(Key):
    """Family `measures/caption`."""

    caption_chars: Int32
    caption_words: Int32
    """Runs of letters or digits (Unicode); each CJK ideograph counts as one word."""
    repeated_share: Float32
    """Share of words that repeat an earlier one, 0–1."""
    nonletter_share: Float32
    """Share of characters that are neither letters nor spaces, 0–1."""


class PdqHash(Key):
    """Family `measures/pdq`. Algorithm: PDQ, Facebook ThreatExchange, `hashing/hashing.pdf`."""

    pdq: Annotated[bytes, pa.binary(32)]
    """256 bits, big-endian as in the reference hex form."""
    pdq_quality: Int16
    """0–100; the paper advises to match only above 49."""


class ClipScore(Key):
    """Family `measures/clip`."""

    clip_score: Float32
    """Cosine of the image and text embeddings, −1–1, computed in float32 from the unrounded embeddings."""
    clip_image: Annotated[list[float], pa.list_(pa.float16())]
    """Unit-length image embedding, float16."""
    clip_text: Annotated[list[float], pa.list_(pa.float16())]
    """Unit-length text embedding, float16."""
