"""Talk about what the teacher was given instead of the picture: captions, boxes, coordinates, lists, annotations.

Patterns for one sentence in plain form (`refusals.plain`).
"""

_NOTES = r"(?:captions?|descriptions?|annotations?|metadata|labels|text descriptions?|object list|list of objects)"
_SAYS = (
    r"(?:mention(?:s|ed)?|states?|stated|describes?|described|indicates?|suggests?|says?|said|tells?|told|"
    r"notes?|lists?|"
    r"specif(?:y|ies|ied)|provides?|provided|given|does not|do not|did not|claims?|leaves?|points? to|refers?|"
    r"talks?|speaks?|calls?|puts?|names?|"
    r"agree|shows?|contains?|includes?|implies|imply|confirms?|has|have|reads?|goes|is anything)"
)
_DETERMINED = (
    r"(?:the|your|these|those|this|each|one|another|no|all|both|any|every|several|multiple|first|second|third|last|two|"
    r"three|four|five|given|provided|supplied|available|accompanying|image|picture|original|human|coco|"
    r"image's|picture's|photo's)"
)
LEAKS = (
    r"\bbounding[- ]?box(?:es)?\b|\bbbox(?:es)?\b",
    r"\bobject[- ]detect(?:ions?|or)\b|(?<!smoke )(?<!metal )(?<!motion )\bdetectors?\b(?= (?:found|says?|"
    r"lists?|reports?))",
    r"\bground[- ]truth\b|\bocr (?:text|results?|output|lines?|reads?|says|found|data)\b|\bannotat(?:ions?|"
    r"ed|ors?|es?)\b|\bmetadata\b",
    r"\b(?:according to|based (?:up)?on|going by|judging by|judging from|as per|per|from|given|using|in line with|by|"
    r"considering|in|with|reading|seeing|see|following) (?:(?:the|these|this|those|your|all|both|one|of|what|"
    rf"provided|given|supplied|above|available|image|picture|text|first|second|third|other|multiple|two|"
    rf"three|four|five|"
    rf"accompanying|original|listed|photo) )*(?:image's |picture's )?(?:{_NOTES}|bounding|coordinates)\b"
    r"(?! (?:of|on|under|below|on the) (?:the|a|this) (?:sign|photo|page|poster|picture))",
    r"\b(?:in|from|given|per|by|based on|according to) the (?:(?:given|provided|above|supplied|"
    r"text) )*context\b(?! of)",
    r"\bthe (?:(?:given|provided|above|supplied|text) )*(?:context|input|prompt) (?:you |i was |\w+ly )?"
    r"(?:says?|states?|lists?|mentions?|includes?|contains?|tells?|provides?|describes?|indicates?|shows?|"
    r"given|gave)\b",
    rf"\b(?:provided|given|supplied|aforementioned|listed) (?:\w+ )?(?:{_NOTES}|context|text|information|input|details|"
    r"sentences?|boxes|prompt|objects|items)\b(?! (?:on|of) )",
    rf"\b{_DETERMINED} (?:\w+ )?(?:captions?|descriptions?|context)(?: (?:you|i was|i am|i have) (?:\w+ )?\w+)? "
    rf"(?:(?:also|only|clearly|explicitly|specifically|all) |, (?:\w+ ){{0,3}}?\w+, )?{_SAYS}\b",
    r"\b(?:captions?|descriptions?|annotations?), (?:however|though|on the other hand|too|for one|in turn|meanwhile), "
    rf"{_SAYS}\b",
    r"\b(?:according to|based on|going by|from|judging by|per) what (?:(?:i|we) (?:was|were|am|have been|was)|was|is|"
    r"has been|you(?: have)?) (?:provided|given|told|supplied|shared|sent|gave|said|wrote)\b",
    r"\b(?:mentioned|described|stated|listed|specified|noted|given|provided|named|told|said|"
    r"written) (?:\w+ )?(?:in|by) "
    rf"(?:(?:the|your|one|of|these|all|image|given|provided|text) )*(?:{_NOTES}|context|prompt|input|data)\b",
    r"\b(?:in|is|are|as|also|explicitly|not) (?:mentioned|stated|specified|listed) (?:\w+ )?(?:in|by|"
    r"among) (?:the|your) "
    r"(?:text|list|objects|boxes|sentences)\b",
    r"\bcoordinates?\b(?! (?:with|well|nicely|perfectly)\b)",
    r"\b(?:its|their|judging by (?:its|the|their)|the object|the detection|"
    r"the region) box(?:es)?\b(?= (?:is|are|spans?|shows?|"
    r"tells?|at|in|covers?|starts?|ends?)|[,.]|$)",
    r"\b(?:a|the|one) box (?:for|around|marking|that marks|labell?ed|with the label) (?:the|an?)\b",
    r"\bbox(?:es)? of the [\w ]{1,20}(?:goes|spans?|starts?|is at|extends?|covers?)\b",
    r"\b(?:list|lists|set) of (?:the )?(?:detected |annotated |labell?ed |given )?(?:objects|boxes|labels|instances)\b|"
    r"\bobject lists?\b|\b(?:objects|items|things|boxes) (?:that are |which are )?(?:listed|annotated|labell?ed)\b|"
    r"\b(?:listed|labell?ed|marked|named) in the data\b|\bwithout the (?:caption|description|annotation)s?\b|"
    r"\bamong the listed\b",
    r"\b(?:detected|annotated|labell?ed) (?:objects?|boxes|instances|regions?)\b|\bthe (?:object |"
    r"region )?boxes (?:show|say|"
    r"indicate|tell)\b",
    rf"\b{_DETERMINED} (?:\w+ )?(?:captions|descriptions)\b",
    r"\b(?:information|data|details|input|text|facts|sentences) (?:that )?(?:(?:is|was|were|are|i was|"
    r"i have been|i am) )?"
    r"(?:provided|given|supplied)\b|\bthe input (?:lists?|says?)|\b(?:from|in) the input\b",
    r"\b(?:captions?|descriptions?|texts?|information|data|details|input|context|sentences|boxes|list) (?:that )?you "
    r"(?:have )?(?:provided|gave|given|supplied|shared|sent|mentioned|described)\b",
    r"\byou (?:have )?(?:mentioned|stated|said|described|wrote|told me) (?:\w+ )?(?:in|that|about)\b",
    r"\b(?:i was|i have been|what i was|we are|we were|i am) told\b|\b(?:i was|i have been) (?:given|"
    r"provided|supplied)\b",
    r"\b(?:image|picture|photo|photograph|scene|view|it) is described (?:as|in|to|by)\b",
    r"\bknow (?:that |this )?(?:from|because of|thanks to) the (?:caption|description|text)\b",
)
CHINESE = (
    r"(?:根据|依据|按照|从|基于|结合|由)(?:所|您|你|以上|上述|给定|给出|提供|图片|图像|的|这些|该)*"
    r"(?:描述|说明文字|标题|标注|文字说明|边界框|坐标|注释|上下文|文本信息|信息)",
    r"边界框|边框坐标|标注框|检测框|坐标(?:为|是|显示|信息)|目标检测|元数据",
    r"(?:描述|标题|标注|说明|上下文)(?:中|里)?(?:还)?(?:提到|提及|指出|说明了|显示|写道|说|没有提到|未提及)",
    r"(?:提供|给出|给定)的(?:描述|信息|标注|上下文|文本|标题|说明)|(?:图片|图像)被描述为",
)
COORDINATES = (
    r"[\[(<{]\s*[01]?\.\d+\s*(?:,\s*(?:[01]?\.\d+|[01])\s*){1,3}[\])>}]",
    r"[\[(<{]\s*\d{1,4}(?:\.\d+)?\s*(?:,\s*\d{1,4}(?:\.\d+)?\s*){3}[\])>}]",
    r"\b[xy][12]?\s*[=:]\s*\d+(?:\.\d+)?",
)
