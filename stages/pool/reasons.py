"""Why a pool row is rejected before anything is fetched: the closed list."""

from enum import StrEnum


class PoolReason(StrEnum):
    """Every way in which `pool` rejects a row."""

    MALFORMED_ROW = "malformed_row"
    """The row cannot be read as what its file or the recipe says it is; detail: what is wrong with it."""
    MISSING_URL = "missing_url"
    """Null, empty or nothing but white space."""
    MISSING_CAPTION = "missing_caption"
    """Null, empty or nothing but white space."""
    REPEATED_ROW = "repeated_row"
    """The same key, or the same url and caption, as an earlier row; detail: that row's sample_id."""
