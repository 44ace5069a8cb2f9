"""Words for COCO's 80 labels and for the sample web's shapes.

A name means all of a label; a kind means some of it (every puppy is a dog); a loose word may be any of several labels.
Words that are often something else (phone, glass, table, plant, bat, computer) stand nowhere: they claim nothing.
"""

from stages.synthesize import words
from stages.synthesize.facts import COLOURS as SPOKEN_COLOURS

NAMES: dict[str, tuple[str, ...]] = {
    "person": ("people", "human", "human being"),
    "bicycle": ("bicycle",),
    "car": ("automobile",),
    "motorcycle": ("motorbike", "motor bike"),
    "airplane": ("aeroplane", "plane", "aircraft"),
    "couch": ("sofa",),
    "tv": ("television", "television set", "tv set"),
    "cell phone": ("cellphone", "mobile phone", "smartphone", "smart phone"),
    "refrigerator": ("fridge",),
    "hair drier": ("hair dryer", "hairdryer", "blow dryer"),
    "donut": ("doughnut",),
    "traffic light": ("stoplight", "traffic signal"),
    "tie": ("necktie",),
    "laptop": ("laptop computer",),
    "remote": ("remote control",),
    "surfboard": ("surf board",),
    "skateboard": ("skate board",),
    "snowboard": ("snow board",),
    "tennis racket": ("tennis racquet",),
    "baseball glove": ("baseball mitt", "catcher's mitt"),
    "hot dog": ("hotdog",),
    "potted plant": ("houseplant",),
    "handbag": ("purse",),
    "wine glass": ("wineglass",),
    "fire hydrant": ("hydrant",),
    "teddy bear": ("teddy",),
    "skis": ("skis",),
}
KINDS: dict[str, tuple[str, ...]] = {
    "person": (
        "man", "woman", "child", "boy", "girl", "kid", "baby", "toddler", "lady", "guy", "gentleman", "teenager",
        "adult", "pedestrian", "skier", "surfer", "snowboarder", "skateboarder", "cyclist", "bicyclist", "motorcyclist",
        "player", "umpire", "spectator", "passenger", "bystander", "chef", "waiter", "waitress",
        "police officer", "policeman", "firefighter", "soldier", "tourist", "bride", "groom",
    ),
    "dog": ("puppy", "terrier", "labrador", "poodle", "bulldog", "dachshund", "retriever"),
    "cat": ("kitten", "kitty", "tabby"),
    "bird": ("duck", "goose", "pigeon", "seagull", "gull", "parrot", "sparrow", "swan", "owl", "eagle", "hawk"),
    "horse": ("pony", "foal", "mare", "stallion"),
    "sheep": ("lamb", "ewe"),
    "cow": ("calf", "bull", "cattle"),
    "car": ("sedan", "hatchback", "taxi", "cab"),
    "truck": ("pickup truck", "pickup", "lorry", "fire truck", "firetruck"),
    "boat": ("canoe", "kayak", "sailboat", "rowboat", "ship", "yacht"),
    "airplane": ("jet", "airliner", "jetliner", "biplane"),
    "bear": ("polar bear", "grizzly bear", "grizzly", "bear cub"),
    "train": ("locomotive",),
    "bus": ("double decker", "double-decker", "minibus"),
    "chair": ("armchair", "highchair", "high chair"),
    "clock": ("alarm clock",),
    "cake": ("cupcake", "birthday cake"),
    "bottle": ("wine bottle", "beer bottle", "water bottle"),
    "cup": ("mug", "teacup"),
    "sports ball": ("baseball ball", "tennis ball", "soccer ball", "basketball", "volleyball"),
    "sandwich": ("burger", "hamburger", "cheeseburger"),
}  # fmt: skip
LOOSE: dict[str, tuple[str, ...]] = {
    "bike": ("bicycle", "motorcycle"),
    "van": ("car", "truck", "bus"),
    "suv": ("car", "truck"),
    "racket": ("tennis racket",),
    "racquet": ("tennis racket",),
    "monitor": ("tv", "laptop"),
    "luggage": ("suitcase", "backpack", "handbag"),
}
SHAPES: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "disk"),
    "star": ("five-pointed star",),
    "ring": ("hoop",),
    "cross": ("plus sign",),
    "diamond": ("rhombus",),
    "crescent": ("crescent moon",),
}
COLOURS: dict[str, str] = {
    **{c: c for c in SPOKEN_COLOURS},
    "violet": "purple", "teal": "turquoise", "gray": "grey",
}  # fmt: skip
IRREGULAR: dict[str, str] = {
    **words.IRREGULAR, "person": "persons", "skis": "skis", "scissors": "scissors", "people": "people",
    "cattle": "cattle", "broccoli": "broccoli", "gentleman": "gentlemen", "luggage": "luggage",
}  # fmt: skip
"""The template's, and what the words above add. "people" is a word of its own here."""


def plural(phrase: str) -> str:
    """The plural of a noun phrase, by its last word."""
    head, _, last = phrase.rpartition(" ")
    word = IRREGULAR[last] if last in IRREGULAR else words.regular_plural(last)
    return f"{head} {word}".strip()


AMBIGUOUS = frozenset({"tie", "book", "train", "orange", "remote", "sink", "bear", "ring", "star", "cross"})
"""Also verbs, colours or adjectives: nouns only after a determiner, a number, a conjunction or a preposition."""
