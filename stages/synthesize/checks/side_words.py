"""Words for sides: which side a word tells, and how far its phrase goes."""

from stages.synthesize.relations import Relation

_LEFT, _RIGHT, _ABOVE, _BELOW = Relation.left_of, Relation.right_of, Relation.above, Relation.below
WORDS: dict[str, Relation] = {
    "left": _LEFT, "leftward": _LEFT, "leftwards": _LEFT, "left-hand": _LEFT, "leftmost": _LEFT,
    "right": _RIGHT, "rightward": _RIGHT, "rightwards": _RIGHT, "right-hand": _RIGHT, "rightmost": _RIGHT,
    "above": _ABOVE, "higher": _ABOVE, "upper": _ABOVE, "top": _ABOVE,
    "below": _BELOW, "beneath": _BELOW, "lower": _BELOW, "underneath": _BELOW, "bottom": _BELOW,
}  # fmt: skip
_BARE = frozenset({"above", "below", "beneath", "underneath"})
_NOT_SIDES = frozenset({
    "there", "here", "now", "next", "beside", "in", "behind", "where", "at", "away", "under", "over", "alone", "on",
    "angle", "angles", "after", "before", "into", "up", "down", "out", "open", "near", "by", "outside",
})  # fmt: skip


def side_of(words: tuple[str, ...], at: int) -> Relation | None:
    """The side that a word tells; "right" and "left" tell others, too: right there, all right, left over."""
    if words[at] in ("right", "left") and words[at + 1 : at + 2] and words[at + 1] in _NOT_SIDES:
        return None
    if (
        words[at] == "right"
        and at
        and words[at - 1] in ("that's", "you're", "all", "is", "i'm")
        and len(words) <= at + 2
    ):
        return None
    return WORDS.get(words[at])


def phrase_of(words: tuple[str, ...], at: int) -> tuple[int, int | None]:
    """The extent of "on the left side of", "higher up than", "above"; end None where it relates to nothing."""
    start = at
    while start > 0 and words[start - 1] in ("the", "to", "on", "at", "in", "towards", "toward", "from"):
        start -= 1
    end = at + 1
    while end < len(words) and words[end] in ("side", "hand", "up", "down", "corner", "half", "part", "edge"):
        end += 1
    if words[at] in _BARE:
        return start, end
    if end < len(words) and words[end] in ("of", "than", "from"):
        return start, end + 1
    return start, None
