"""Words of closed classes: after a noun they say that it heads its phrase, after a colour that it modifies none."""

FUNCTION = frozenset({
    "him", "them", "us", "me", "himself", "herself", "ourselves", "someone", "something", "somebody", "everyone",
    "everything", "everybody", "anyone", "anything", "anybody", "nothing", "nobody", "none", "neither", "nor", "yet",
    "whereas", "whenever", "wherever", "whichever", "whoever", "whatever", "unless", "lest", "because", "whether",
    "opposite", "alongside", "amidst", "amongst", "aboard", "despite", "beyond", "minus", "plus", "versus", "vs",
    "toward", "towards", "till", "unlike", "via", "within", "without", "round", "aside", "away", "ahead", "apart",
    "forward", "forwards", "backwards", "outdoors", "indoors", "upright", "overhead", "elsewhere", "everywhere",
    "nowhere", "almost", "already", "always", "never", "ever", "often", "once", "twice", "still", "soon", "later",
    "perhaps", "quite", "instead", "otherwise", "thus", "hence", "therefore", "indeed", "anyway", "altogether",
    "is", "are", "was", "were", "be", "been", "being", "am", "do", "does", "did", "done", "has", "have", "had",
    "having", "can", "cannot", "could", "will", "would", "shall", "should", "may", "might", "must", "ought",
    "better", "best", "worse", "worst", "there's", "that's", "it's", "which's", "he's", "she's", "they're", "isn't",
    "aren't", "wasn't", "weren't",
})  # fmt: skip
PAST = frozenset({
    "stood", "sat", "lay", "hung", "ran", "rode", "flew", "swam", "slept", "ate", "drank", "fell", "rose", "led", "met",
    "held", "kept", "left", "lost", "caught", "brought", "bought", "found", "felt", "grew", "drew", "threw", "wore",
    "woke", "drove", "began", "broke", "chose", "spoke", "stole", "shone", "shook", "spent", "spread", "swung", "hid",
    "bent", "leant", "leapt", "dealt", "fought", "taught", "thought", "told", "sold", "won", "wound", "saw", "seen",
    "became", "come", "gone", "given", "taken", "shown", "drawn", "worn", "torn", "hidden", "written", "eaten",
    "driven", "ridden", "thrown", "chosen", "broken", "made", "meant", "built", "cut", "hit", "let", "put", "set",
})  # fmt: skip
"""Irregular forms of the past: what follows a noun in -ed is known without a list."""
SEEING = frozenset({
    "see", "sees", "find", "finds", "count", "counts", "spot", "spots", "notice", "notices", "discern", "detect",
    "identify", "recognise", "recognize", "observe", "make", "capture", "captures", "catch", "catches", "record",
    "perceive", "discover", "meet", "meets", "encounter", "tell",
})  # fmt: skip
"""What an eye, a viewer or a camera does with what is there."""
