"""Everything that can be wrong with a row of the sample web, and how such a row ought to end.

`EXPECTED` names reasons by value: of the pool, of the download and of the pixel pass they are those stages' own; of
select they are the rules of recipes/demo.yaml.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Trouble(StrEnum):
    none = "none"
    # duplicates
    exact_duplicate = "exact_duplicate"
    near_requality = "near_requality"
    near_half = "near_half"
    near_crop = "near_crop"
    near_brightness = "near_brightness"
    repeated_row = "repeated_row"
    # captions
    swapped = "swapped"
    hard_caption = "hard_caption"
    caption_missing = "caption_missing"
    caption_empty = "caption_empty"
    caption_repeats = "caption_repeats"
    caption_symbols = "caption_symbols"
    # addresses
    url_missing = "url_missing"
    url_malformed = "url_malformed"
    url_ftp = "url_ftp"
    url_private = "url_private"
    unknown_host = "unknown_host"
    refused = "refused"
    reset = "reset"
    not_tls = "not_tls"
    # answers
    gone_404 = "gone_404"
    gone_410 = "gone_410"
    error_500 = "error_500"
    recovering_503 = "recovering_503"
    redirect_chain = "redirect_chain"
    redirect_loop = "redirect_loop"
    redirect_private = "redirect_private"
    redirect_file = "redirect_file"
    noai_header = "noai_header"
    never_answers = "never_answers"
    drips = "drips"
    # bodies
    truncated_body = "truncated_body"
    truncated_file = "truncated_file"
    html_as_jpeg = "html_as_jpeg"
    html_page = "html_page"
    jpeg_as_html = "jpeg_as_html"
    empty_body = "empty_body"
    endless_body = "endless_body"
    oversize_body = "oversize_body"
    bomb_header = "bomb_header"
    bomb_zlib = "bomb_zlib"
    svg = "svg"
    one_pixel = "one_pixel"
    tiny = "tiny"
    right_sha256 = "right_sha256"
    wrong_sha256 = "wrong_sha256"
    # formats that are fine
    exif_rotated = "exif_rotated"
    png = "png"
    png_alpha = "png_alpha"
    png_16bit = "png_16bit"
    grey = "grey"
    cmyk = "cmyk"
    animated_gif = "animated_gif"
    webp = "webp"


class Expected(NamedTuple):
    """`reason` None: the row is sound and may be lost only to its duplicates. `also` lists equally right reasons."""

    stage: str | None
    reason: str | None
    also: tuple[str, ...] = ()


_KEPT = Expected(None, None)
_DOWNLOAD, _POOL, _SELECT = "download", "pool", "select"

EXPECTED: dict[Trouble, Expected] = {
    **dict.fromkeys(Trouble, _KEPT),
    Trouble.repeated_row: Expected(_POOL, "repeated_row"),
    Trouble.swapped: Expected(_SELECT, "low_clip"),
    Trouble.hard_caption: Expected(_SELECT, "low_clip"),
    Trouble.caption_missing: Expected(_POOL, "missing_caption"),
    Trouble.caption_empty: Expected(_POOL, "missing_caption"),
    Trouble.caption_repeats: Expected(_SELECT, "repeated_text"),
    Trouble.caption_symbols: Expected(_SELECT, "mostly_symbols", ("short_caption",)),
    Trouble.url_missing: Expected(_POOL, "missing_url"),
    Trouble.url_malformed: Expected(_DOWNLOAD, "bad_url"),
    Trouble.url_ftp: Expected(_DOWNLOAD, "blocked_scheme"),
    Trouble.url_private: Expected(_DOWNLOAD, "blocked_address"),
    Trouble.unknown_host: Expected(_DOWNLOAD, "dns_error"),
    Trouble.refused: Expected(_DOWNLOAD, "connect_error"),
    Trouble.reset: Expected(_DOWNLOAD, "connect_error"),
    Trouble.not_tls: Expected(_DOWNLOAD, "tls_error"),
    Trouble.gone_404: Expected(_DOWNLOAD, "http_status"),
    Trouble.gone_410: Expected(_DOWNLOAD, "http_status"),
    Trouble.error_500: Expected(_DOWNLOAD, "http_status"),
    Trouble.redirect_loop: Expected(_DOWNLOAD, "too_many_redirects"),
    Trouble.redirect_private: Expected(_DOWNLOAD, "blocked_address"),
    Trouble.redirect_file: Expected(_DOWNLOAD, "blocked_scheme"),
    Trouble.noai_header: Expected(_DOWNLOAD, "robots_disallowed"),
    Trouble.never_answers: Expected(_DOWNLOAD, "timeout"),
    Trouble.drips: Expected(_DOWNLOAD, "timeout"),
    Trouble.truncated_body: Expected(_DOWNLOAD, "partial_body"),
    Trouble.truncated_file: Expected(None, "undecodable", ("not_an_image",)),
    Trouble.html_as_jpeg: Expected(_DOWNLOAD, "not_an_image"),
    Trouble.html_page: Expected(_DOWNLOAD, "not_an_image"),
    Trouble.empty_body: Expected(_DOWNLOAD, "empty_body"),
    Trouble.endless_body: Expected(_DOWNLOAD, "too_large"),
    Trouble.oversize_body: Expected(_DOWNLOAD, "too_large"),
    Trouble.bomb_header: Expected(_DOWNLOAD, "too_many_pixels"),
    Trouble.bomb_zlib: Expected(_DOWNLOAD, "too_many_pixels"),
    Trouble.svg: Expected(_DOWNLOAD, "unsupported_format", ("not_an_image",)),
    Trouble.one_pixel: Expected(_SELECT, "too_small"),
    Trouble.tiny: Expected(_SELECT, "too_small"),
    Trouble.wrong_sha256: Expected(_DOWNLOAD, "sha256_mismatch"),
}

PER_THOUSAND: dict[Trouble, float] = {
    Trouble.exact_duplicate: 40, Trouble.near_requality: 14, Trouble.near_half: 14, Trouble.near_crop: 14,
    Trouble.near_brightness: 14, Trouble.repeated_row: 6, Trouble.swapped: 50, Trouble.hard_caption: 92,
    Trouble.caption_missing: 4, Trouble.caption_empty: 4, Trouble.caption_repeats: 6, Trouble.caption_symbols: 6,
    Trouble.url_missing: 4, Trouble.url_malformed: 5, Trouble.url_ftp: 3, Trouble.url_private: 4,
    Trouble.unknown_host: 2, Trouble.refused: 3, Trouble.reset: 3, Trouble.not_tls: 2, Trouble.gone_404: 10,
    Trouble.gone_410: 4, Trouble.error_500: 2, Trouble.recovering_503: 5, Trouble.redirect_chain: 8,
    Trouble.redirect_loop: 3, Trouble.redirect_private: 5, Trouble.redirect_file: 2, Trouble.noai_header: 5,
    Trouble.never_answers: 2, Trouble.drips: 2, Trouble.truncated_body: 4, Trouble.truncated_file: 4,
    Trouble.html_as_jpeg: 4, Trouble.html_page: 4, Trouble.jpeg_as_html: 4, Trouble.empty_body: 3,
    Trouble.endless_body: 2, Trouble.oversize_body: 2, Trouble.bomb_header: 2, Trouble.bomb_zlib: 2, Trouble.svg: 3,
    Trouble.one_pixel: 3, Trouble.tiny: 4, Trouble.right_sha256: 15, Trouble.wrong_sha256: 6,
    Trouble.exif_rotated: 14, Trouble.png: 6, Trouble.png_alpha: 5, Trouble.png_16bit: 4, Trouble.grey: 10,
    Trouble.cmyk: 5, Trouble.animated_gif: 4, Trouble.webp: 10,
}  # fmt: skip
"""Planted rows per thousand, at least one of each; the rest of a pool is Trouble.none."""


def planned(rows: int) -> dict[Trouble, int]:
    """How many rows of each trouble a pool of `rows` gets."""
    counts = {trouble: max(1, round(share * rows / 1000)) for trouble, share in PER_THOUSAND.items()}
    return {Trouble.none: rows - sum(counts.values()), **counts}
