"""A third set of phrasings, written after the checks had been tried on both halves of phrases.py and lies.py.

It is only for reporting: no check is changed for what is missed here. One thing was changed after its figures were
taken: "What can you say about the star?" was taken for a question about text, and true answers to it were rejected.
"""

OBJECT = (
    ("What is this a picture of?", "It's a picture that includes {ax}."),
    ("Which thing would you mention first?", "I would mention the {x}."),
    ("Is the {x} big?", "Not really, it covers only a part of the frame."),
    ("Does this scene have {ax}?", "Yes, it has one."),
    ("Help me understand the picture.", "You are looking at {ax}."),
    ("What draws attention?", "Attention is drawn to the {x} at once."),
    ("Have a look: what is there?", "There is {ax} to be seen."),
    ("Would you please describe the {x}?", "It has a clear outline and looks ordinary."),
    ("Are there any noteworthy objects?", "One noteworthy object is the {x}."),
    ("What appears in the frame?", "{An} appears in the frame."),
    ("Is it true that there is {ax} in the photo?", "Yes, that is true."),
    ("What do people usually see first?", "They will notice the {x} first."),
)
COUNT = (
    ("How many {xs} are in this picture?", "There are {d} {xs} in this picture.", True),
    ("Number of {xs}?", "{N}.", True),
    ("Can you count how many {xs} are shown?", "Yes: {n} {xs} are shown.", True),
    ("What is the picture of?", "It is a picture of {n} {xs}.", True),
    ("What do you observe?", "One can observe {n} {xs} in the image.", True),
    ("How many {xs} would you say there are?", "I would say there are {n}.", True),
    ("Say something about the {xs}.", "There are {d} of them.", True),
    ("How many {xs} does this scene contain?", "This scene contains {n} {xs}.", True),
    ("What stands out?", "What stands out is a group of {n} {xs}.", False),
    ("Do the {xs} overlap?", "Hardly, the {n} {xs} can be told apart.", False),
    ("What's in the picture?", "{N} {xs}.", True),
    ("How many {xs} exist in this image?", "In this image exist {n} {xs}.", True),
)
COLOUR = (
    ("What is the {noun}'s colour?", "{C}."),
    ("Please name the colour of the {noun}.", "The {noun} has the colour {colour}."),
    ("Could you tell what color the {noun} is?", "Yes, the {noun} is {colour}."),
    ("What catches your eye?", "A {noun} in a strong {colour} catches my eye."),
    ("What do you notice about the {noun}?", "I notice that its colour is {colour}."),
    ("Is the colour of the {noun} {colour}?", "Yes."),
    ("What is there?", "One thing that is there is a {colour} {noun}."),
    ("Does the picture have a {colour} {noun}?", "Yes, it does."),
    ("Which colour was used for the {noun}?", "{C} was used for the {noun}."),
    ("How is the {noun} painted?", "The {noun} is painted {colour}."),
    ("Where is the {colour} {noun}?", "It is somewhere in the frame."),
    ("What can you say about the {noun}?", "The {noun} seems to be {colour}."),
)
SIDE = (
    ("Which way is the {x} from the {y}?", "It is {side} the {y}."),
    ("Is the {y} {back} the {x}?", "Yes, the {y} is {back} the {x}."),
    ("In which direction from the {y} does the {x} lie?", "The {x} lies {side} the {y}."),
    ("What is next to the {y}?", "There is a {x} {side} the {y}."),
    ("Please locate the {x}.", "The {x} is shown {side} the {y}."),
    ("What can be found {side} the {y}?", "A {x} can be found there."),
    ("Would you say the {x} is {side} the {y}?", "Yes, I would."),
    ("How do the {x} and the {y} relate?", "The {y} is situated {back} the {x}."),
    ("Is it correct that the {x} is {side} the {y}?", "Yes, that is correct."),
    ("Describe the positions.", "The {x} has been placed {side} the {y}."),
    ("Where do you see the {x}?", "I see the {x} {side} the {y}."),
    ("Where's the {x} compared with the {y}?", "{Side} it."),
)
TEXT = (
    ("What words do you see?", 'I see the words "{text}".'),
    ("What is the text?", '"{text}".'),
    ("Does the sign have text?", 'Yes, it has the text "{text}".'),
    ("What does the board read?", "It reads {text}."),
    ("Anything to read here?", 'There is a notice that says "{text}".'),
    ("What is the wording?", "The wording is '{text}'."),
    ("Which letters are on the plate?", 'The letters form "{text}".'),
    ("Is something written on the wall?", 'Somebody has written "{text}" on it.'),
    ("What does the poster announce?", 'The poster announces "{text}".'),
    ("Can the writing be read?", 'It can: "{text}".'),
)
LEAK = (
    "From what the captions say, there is {ax}.", "In the description I was given, the {x} is named.",
    "The box of the {x} goes from (0.1, 0.2) to (0.5, 0.6).", "Looking at the bounding boxes, I find {ax}.",
    "The captions describe {ax}.", "The first caption talks about {ax}.",
    "According to the given information, there is {ax}.", "The description says there is {ax}.",
    "{An} is mentioned in the captions.", "Based on the image captions, it is {ax}.",
)  # fmt: skip
REFUSAL = (
    "Sorry, I can't see the picture.", "I am an AI, so I cannot look at anything.", "I cannot fulfil this request.",
    "I regret that I cannot answer.", "I'm sorry, I'm unable to answer that.", "Being an AI model, I have no eyes.",
    "I cannot provide an answer to that.", "I am not able to see the photo.", "I can't access the image you sent.",
    "I'm sorry, but I am not allowed to say.",
)  # fmt: skip
LOOP = (
    "I see the {x}, I see the {x}, I see the {x}.", "It is there. It is there. It is there. It is there.",
    "The {x} and the {x} and the {x} and the {x}.", "You see {ax}! You see {ax}! You see {ax}!",
    "The view has {ax}. It is simple. The view has {ax}. It is simple. The view has {ax}.",
    "So so so so so so so clear.", "Here is {ax}, here is {ax}, here is {ax}, here is {ax}.",
    "Because it is there because it is there because it is there.", "{An} {x} {x} {x} {x} {x}.",
    "The {x} is quite nice to look at.\n\nThe {x} is quite nice to look at.",
)  # fmt: skip
