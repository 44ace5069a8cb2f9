"""Words in which a sentence says that something named is not in the picture."""

import re

from stages.synthesize.checks.lexicon import Mention

_SHOWS = (
    r"(?:see|spot|find|notice|show|shows|contain|have|feature|include|depict|detect|display|capture|catch|"
    r"photograph|make out|seeing|"
    r"identify|locate)"
)
_THING = (
    r"(?:an?|any|the|a single|even a|even one|any sign of an?|any trace of an?|such a thing as an?|anything like an?)"
)
_SOME = rf"(?:{_THING} )?"
_PLACE = r"(?:(?:from|in|of|on|within) (?:the|this|that) (?:\w+ )?(?:\w+) |here |there |now )?"
_GONE = (
    r"(?:absent|missing|nowhere|invisible|lacking|gone|left out|omitted|excluded|out of (?:sight|view|"
    r"the (?:picture|frame|image|shot|scene))|nonexistent|non-existent|not there)"
)
_PART = (
    r"(?:seen|shown|found|spotted|made out|detected|identified|located|observed|noticed|depicted|pictured|featured|"
    r"included|captured|displayed|represented|portrayed|recognised|recognized|discerned|visible|present|there|here)"
)
_BEFORE = re.compile(
    r"(?:"
    r"(?:^|\b(?:there is|there are|there's|there're|there was|see|sees|spot|find|found|contains?|has|have|"
    r"shows?|features?|"
    r"includes?|with|notice|and|but|so|since|because|as|displays?|depicts?|holds?|nope ?,?|no ,|yes ,|[,:;]) )"
    r"(?:absolutely |clearly |simply |really )?(?:no|zero|no single|no sign of an?|no trace of an?|"
    r"no such thing as an?|not one|not a single|nothing (?:like|resembling) an?) "
    rf"|(?:n't|not|cannot|unable to|never)(?: (?:able to|\w+ly|even|manage to))? {_SHOWS} {_SOME}"
    r"|(?:picture|image|scene|photo|photograph|view|frame|shot|it|composition) (?:\w+ )?(?:without|lacks|"
    r"lacking|is missing|"
    r"misses|is devoid of|is free (?:of|from)|has nothing like) (?:(?:an?|any|a single) )?"
    rf"|(?:^|[,:;] |\b(?:and|but|so|that) )(?:\w+ly )?(?:{_GONE}|not {_PART}) {_PLACE}(?:is|are|was|were) {_SOME}"
    rf"|\bwhat(?:'s)? (?:\w+ )?(?:\w+ )?(?:n't|not|{_GONE}) ?{_PLACE}(?:(?:{_SHOWS}|{_PART}) )?{_PLACE}(?:is|are|was) "
    rf"{_SOME}"
    rf"|\bnowhere (?:{_PLACE})?(?:is|are|do|does|did|can|could) (?:there |(?:i|we|you|one) {_SHOWS} )?{_SOME}"
    r"|\bneither (?:an?|any) "
    rf"|\b(?:{_GONE}|not {_PART})\W*: \W*{_SOME}"
    r"|\b(?:absence|lack) of (?:an?|any|the) "
    r")$"
)
_THERE_NOT = re.compile(
    r"(?:n't|not|hardly) (?:\w+ly )?(?:think|believe|suppose|say|feel|find) (?:that )?there (?:is|are|was|were)"
    r"(?: an?| any| a single| even an?| even one)? $|"
    r"there ?(?:is|are|was|were|does|do|seems|appears)? ?(?:n't|not)(?: (?:seem|appear) to be| exist)?"
    r"(?: an?| any| a single| even an?| even one)? $"
)
_SUBJECT = re.compile(
    r"(?:^|[,;:] |\b(?:and|but|so|that|since|because|as|no ,) )(?:\w+ )?(?:i|we|you|one|it|they|there|"
    r"(?:the|this|that) "
    r"(?:\w+ )?(?:image|picture|photo|photograph|scene|view|frame|shot|composition|drawing|photographer|artist|"
    r"camera|painter))\b[^,;]*$"
)
_AFTER = re.compile(
    r"^: (?:none|zero|0|absent|missing|not )|^(?:(?:that |which )?(?:you|one) (?:\w+ ){1,4}?)?"
    r"(?:(?:is|are|was|were|seems?|appears?|remains?|must be|has been|have been) (?:to be )?(?:\w+ly |simply )?"
    rf"{_GONE}\b|"
    r"(?:is|are|was|were|has|have|had) ?(?:n't|"
    rf"not) (?:been |\w+ly )*(?:{_PART}\b|in (?:the|this|it|view|sight)|"
    r"part of|"
    rf"to be {_PART}|made it into|something (?:that )?(?:i|we|you|one)|one of|"
    rf"among)|(?:cannot|can ?n't|can not|could ?n't|could not) (?:\w+ly )?be {_PART}|"
    r"(?:does|do|did) ?(?:n't|not) (?:seem to |appear to )?(?:be (?:in|part|there|here|present|visible)|appear|"
    r"show up|occur|exist|feature|figure|come into view|belong to|form part)|(?:never|nowhere) (?:appears?|shows? up|"
    r"occurs?|features?))"
)
_OF_NO_USE = re.compile(
    r"^(?:to (?!the\b|its\b|it\b|his\b|her\b|your\b|my\b|our\b|their\b|one\b|a\b|an\b)\w+|"
    r"that (?:i|we|you|one) |which |"
    r"(?:i|we|you|one) (?:can|could)|as far as|for (?:me|us) to|in (?:sight|view|evidence)|n?or |"
    r"in the (?:image|picture|photo|scene|frame)\b|whatsoever|at all|anywhere)"
)
"""After "no dog": what could be done with one, which picks none of them: "there is no dog to speak of"."""
_BARE = re.compile(
    r"without|lack|absence|neither|\bwhat\b|nothing|nowhere|\bnot (?:one|a single)|"
    rf"^(?:\W|what|and|but|so|that|\w+ly )*(?:n't|{_GONE}|not {_PART})"
)
"""What denies without a subject that sees or holds."""
_BACK = 24
"""Words before the noun that are looked at."""
_TAKEN_BACK = re.compile(
    r"\b(?:there (?:is|are|was|were) none|there's none|there (?:is not|are not|was not|isn't|aren't|wasn't)"
    r"(?: one| any| a single one)?(?= [^\w\s]|$)|(?:doesn't|don't|does not|"
    r"do not) (?:have|contain|"
    r"show|include|feature) (?:one|any|it|them)|none (?:so far|here|at all|is|are)|no such thing|"
    r"none in (?:the|this)|(?:found|saw|see|find|spotted|spot|noticed|notice|has|have|contains?|shows?) none|"
    r"(?:could not|couldn't|cannot|can't|did not|didn't|do not|don't|failed to|unable to) (?:find|see|spot|detect|"
    r"locate|make out|identify) (?:one|it|any|them))\b"
)
"""After a thing has been named: it is not there."""


def denied_after(words: tuple[str, ...], mention: Mention) -> bool:
    """`The dog is missing`, `… is not part of the picture`, `I looked for a dog but found none`."""
    return bool(_AFTER.match(_joined(words[mention.end :])) or _TAKEN_BACK.search(" ".join(words[mention.end :])))


def denied_before(words: tuple[str, ...], mention: Mention) -> bool:
    """`There is no dog`, `I don't think there is a dog`, `absent from the picture is a dog`."""
    before = f"{_joined(words[max(0, mention.first - _BACK) : mention.first])} "
    if _THERE_NOT.search(before):
        return True
    found = _BEFORE.search(before)
    if not found:
        return False
    if mention.determiner == "no" or _BARE.search(found.group()):
        return True
    return bool(_SUBJECT.search(before)) and not mention.definite


def takes_back(words: tuple[str, ...]) -> bool:
    """`There's none in this picture.`, `It is not among them.`: of the one thing that the question names."""
    said = _joined(words)
    if re.match(r"(?:there's|there (?:is|are)|(?:i|we) (?:see|saw|find|found|spot)) none\b", said):
        return True
    return words[:1] in (("it",), ("they",), ("one",)) and bool(_AFTER.match(_joined(words[1:])))


def of_no_use(words: tuple[str, ...], mention: Mention) -> bool:
    """`No dog to speak of`: nothing is picked by what follows."""
    return bool(_OF_NO_USE.match(_joined(words[mention.end :])))


def _joined(words: tuple[str, ...]) -> str:
    return re.sub(r"(\w)n't\b", r"\1 n't", " ".join(words)).replace("ca n't", "cannot")
