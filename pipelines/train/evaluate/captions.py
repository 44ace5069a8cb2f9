"""Captions against several references: CIDEr, BLEU and ROUGE-L, by pycocoevalcap, COCO's own evaluation.

METEOR and SPICE are left out: they need Java. So does the tokenizer that published figures are made with (Stanford's
PTB tokenizer): `words` is close to it; `ptb` runs it, where Java is.
"""

import re
import shutil
from collections.abc import Sequence
from typing import Literal

from schemas.errors import WrongData, WrongRequest

Tokenizer = Literal["words", "ptb"]
_WORD = re.compile(r"\w+(?:[-.'’/]\w+|(?<=\d)[,:]\d+)*|[^\w\s]")
_CLITIC = re.compile(r"(?<=\w)(n['’]t|['’](?:s|m|d|ll|re|ve))$")
_SPLIT = {"cannot": "can not", "gonna": "gon na", "wanna": "wan na", "gotta": "got ta", "gimme": "gim me"}
_DROPPED = frozenset("'`’‘“”\".?!,:;-–—…")
"""Punctuation that pycocoevalcap's PTBTokenizer takes out."""
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
"""It means to take these out, too, and looks for them in capitals: published figures have them as words."""
_ORDERS = 4


def words(caption: str) -> str:
    """In lower case, split as PTB splits English (clitics apart: "it's" → it 's, "don't" → do n't), without
    punctuation. Tokens are joined by a space. Other languages: words as white space and punctuation part them."""
    out: list[str] = []
    parts: list[str]
    for token in _WORD.findall(caption.lower()):
        if token in _DROPPED:
            continue
        clitic = _CLITIC.search(token)
        parts = [token] if clitic is None else [token[: clitic.start()], clitic[0]]
        out += [_SPLIT.get(part, _BRACKETS.get(part, part)) for part in parts]
    return " ".join(out)


def caption_scores(
    said: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer = "words"
) -> dict[str, float | None]:
    """BLEU-1 … BLEU-4 and ROUGE-L in 0 … 1, CIDEr (CIDEr-D, over these captions' own document frequencies, so it
    means little for a few) in 0 … 10. An empty caption scores 0. None of no captions at all.

    Raises WrongRequest where pycocoevalcap or Java is missing, WrongData for a caption without references.
    """
    if len(said) != len(references):
        raise WrongData(
            f"{len(said)} captions and references for {len(references)}", "give each caption its references"
        )
    bare = next((i for i, one in enumerate(references) if not any(text.strip() for text in one)), None)
    if bare is not None:
        raise WrongData(f"caption {bare} has no reference", "leave it out")
    names = [*(f"bleu_{n}" for n in range(1, _ORDERS + 1)), "rouge_l", "cider"]
    if not said:
        return dict.fromkeys(names, None)
    mine, theirs = _tokenized(said, references, tokenizer)
    return dict(zip(names, _scores(mine, theirs), strict=True))


def _scores(mine: dict[int, list[str]], theirs: dict[int, list[str]]) -> list[float]:
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.rouge.rouge import Rouge
    except ImportError as error:
        raise _absent() from error
    bleu, _ = Bleu(_ORDERS).compute_score(theirs, mine, verbose=0)
    rouge, _ = Rouge().compute_score(theirs, mine)
    cider, _ = Cider().compute_score(theirs, mine)
    return [float(one) for one in (*bleu, rouge, cider)]


def _tokenized(
    said: Sequence[str], references: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    theirs = {i: [text for text in one if text.strip()] for i, one in enumerate(references)}
    if tokenizer == "words":
        mine = {i: [words(one)] for i, one in enumerate(said)}
        return mine, {i: [words(text) for text in one] for i, one in theirs.items()}
    if shutil.which("java") is None:
        raise WrongRequest("tokenizer ptb runs Stanford's tokenizer, and there is no java", "take tokenizer words")
    try:
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError as error:
        raise _absent() from error
    both = PTBTokenizer().tokenize(
        {("mine", i): [{"caption": _line(one)}] for i, one in enumerate(said)}
        | {("theirs", i): [{"caption": _line(text)} for text in one] for i, one in theirs.items()}
    )
    return {i: both["mine", i] for i in theirs}, {i: both["theirs", i] for i in theirs}


def _line(text: str) -> str:
    """The tokenizer reads one caption a line."""
    return " ".join(text.split())


def _absent() -> WrongRequest:
    return WrongRequest("captions are scored with pycocoevalcap, which is not installed", "uv sync --extra evaluate")
