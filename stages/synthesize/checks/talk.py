"""Talk that no reader of the picture should hear: refusals, the machine about itself, the context it was given."""

import re
from collections.abc import Iterable

from schemas.conversation import Check, Role
from schemas.synthesize import ChecksConfig
from stages.synthesize.checks.finding import Finding
from stages.synthesize.checks.words import shown
from stages.synthesize.context import Context, Draft

_VISUAL = r"(?:image|images|picture|pictures|photo|photos|photograph|photographs|pixels|visual\w*|attachment|file)"
_REFUSALS = (
    r"\bas an? (?:\w+[- ]){0,3}(?:ai|a\.i\.|artificial intelligence|language model|llm|assistant|chatbot)\b",
    r"\bi(?:'m| am) (?:just |only |merely )?an? (?:\w+[- ]){0,3}"
    r"(?:ai|language model|llm|chatbot|text[- ]based model)\b",
    r"\b(?:i'm|i am|we're) (?:very |so |really |terribly )?(?:sorry|afraid),?(?: but)?(?: that)? i(?:'m| am)? "
    r"?(?:can(?:'t|not| not)|won't|will not|unable|not able|must|don't|do not)\b(?! (?:see|spot|find) (?:a|an|any)\b)",
    r"\b(?:sorry|apologi[sz]e|apologies|regret)\b[^.?]{0,40}\b(?:can(?:'t|not| not)|unable|won't|not able)\b(?! be\b)"
    r"[^.?]{0,25}\b(?:help|assist|answer|comply|fulfil\w*|provide|process|view|continue|respond|do that)\b",
    r"\bi(?:'m| am)? (?:can(?:'t|not| not)|unable to|not able to|won't|will not|must decline to|have to decline to|"
    r"don't feel comfortable|not comfortable)\s?(?:be able to )?(?:help(?:ing)?|assist(?:ing)?|comply|fulfil\w*|engage|"
    r"answering|describing|"
    r"answer(?:ing)? (?:that|this|your|the)|provid(?:e|ing) (?:that|this|an answer|any|a)|discuss(?:ing)?|"
    r"respond(?:ing)? to|process)\b",
    r"\bi(?:'m| am)? (?:can(?:'t|not| not)|unable to|not able to|do not|don't|cannot) (?:actually |directly |currently "
    rf"|really |physically )?(?:see|view|access|open|look at|process|analy[sz]e|display) (?:the |"
    rf"this |that |your |any |"
    rf"actual |an? )*{_VISUAL}\b(?! (?:clearly|well|of)\b)",
    r"\bi (?:do not|don't|lack) (?:have )?(?:the )?(?:access|ability|capability|capacity)\b[^.]{0,40}",
    rf"\b(?:no|without an?) {_VISUAL} (?:was|were|is|has been|being) (?:provided|attached|uploaded|shared)\b",
    r"\b(?:i must|i have to|i(?:'d| would) (?:have to|prefer to|"
    r"rather)) (?:respectfully )?(?:decline|refuse|not answer)\b",
    r"\b(?:against|violates?|violating) (?:my|our|the|openai's?) (?:\w+ )?(?:guidelines|polic\w+|rules|programming)\b",
    r"\b(?:my (?:training data|knowledge cut-?off|programming|guidelines)|openai)\b",
    r"\b(?:this|that|your|the) (?:request|question|prompt) (?:is something i|cannot be (?:fulfilled|processed)|"
    r"is not something i)\b",
    r"(?:作为|身为)(?:一个|一名|一款|一位)?(?:大型|大)?(?:AI|ai|人工智能|语言模型|智能助手|聊天机器人)",
    r"我(?:只)?是(?:一个|一名|一款)?(?:大型)?(?:AI|ai|人工智能|语言模型)",
    r"(?:抱歉|对不起|很遗憾)[，,。！ ]*(?:但)?我?(?:无法|不能|没有办法|没法|不便)",
    r"我(?:无法|不能|没有办法|没法)(?:直接)?(?:查看|看到|访问|打开|处理|回答|提供|协助|帮助|满足)",
)
_SOURCES = (
    r"(?:captions?|descriptions?|annotations?|context|metadata|text|information|"
    r"data|input|details|labels?|list|boxes|prompt)"
)
_LEAKS = (
    r"\bbounding[- ]?box(?:es)?\b", r"\bbbox(?:es)?\b", r"\bobject[- ]detect(?:ion|or)\b",
    r"\b(?:ground[- ]truth|ocr) \w+", r"\bannotat(?:ions?|ed|ors?)\b", r"\bmetadata\b",
    r"\b(?:according to|based (?:up)?on|going by|judging by|judging from|as per|per|from|given|using|in line with) "
    r"(?:(?:the|these|this|those|your|all|both|what the|provided|given|supplied|above|available|image|text|first|"
    r"second|third|other|multiple|five|accompanying) )*(?:provided |given |supplied |image |text )?"
    r"(?:captions?|descriptions?|annotations?|context|metadata|bounding|coordinates|labels)\b",
    rf"\b(?:provided|given|supplied|accompanying|aforementioned) (?:\w+ )?{_SOURCES}\b(?! (?:of|on) )",
    r"\b(?:the|your|these|this|each|one|another|no) (?:\w+ )?(?:captions?|descriptions?|"
    r"context)(?: (?:you|i was) \w+)? "
    r"(?:(?:also|only|clearly|explicitly|specifically) )?(?:mentions?|states?|describes?|indicates?|suggests?|says?|"
    r"tells?|notes?|lists?|specif(?:y|ies)|provided|given|does(?:n't| not)|do(?:n't| not)|refers?|talks?|calls?)\b",
    r"\b(?:mentioned|described|stated|listed|specified|noted|given|provided|named) (?:\w+ )?(?:in|by) (?:the|your|"
    r"one of the|these|all) (?:\w+ )?(?:captions?|descriptions?|context|annotations?|"
    r"list of (?:objects|boxes)|prompt)\b",
    r"\b(?:the|its|their|whose|these|with|at|box|pixel|normali[sz]ed) (?:\w+ )?coordinates?\b",
    r"\b(?:list of (?:detected|annotated|labell?ed) objects|(?:detected|annotated) (?:objects?|boxes|instances))\b",
    r"\b(?:the|these|your|all|both|several|multiple) (?:\w+ )?(?:captions|descriptions)\b",
    r"\b(?:information|data|details) (?:that (?:is|was|were) )?(?:provided|given|supplied)\b",
    r"\b(?:texts?|information|data|details) (?:that )?you(?:'ve| have)? (?:provided|gave|given|supplied|shared)\b",
    r"\b(?:labell?ed|detected) (?:boxes|regions?)\b", r"\bthe (?:object |region )?boxes (?:show|say|indicate|tell)\b",
    r"(?:根据|依据|按照|从|基于)(?:所|您|你|以上|上述|给定|提供|图片|图像|的|这些|该)*(?:描述|说明文字|标题|标注|文字说明|边界框|坐标|注释|上下文)",
    r"边界框|边框坐标|标注框|检测框|(?:描述|标题|标注|说明)(?:中|里)?(?:提到|提及|指出|说明了|显示|写道)",
    r"(?:提供|给出)的(?:描述|信息|标注|上下文|文本)",
)  # fmt: skip
_COORDINATES = (
    r"[\[(<{]\s*[01]?\.\d+\s*(?:,\s*(?:[01]?\.\d+|[01])\s*){1,3}[\])>}]",
    r"[\[(<{]\s*\d{1,4}(?:\.\d+)?\s*(?:,\s*\d{1,4}(?:\.\d+)?\s*){3}[\])>}]",
    r"\b[xy][12]?\s*[=:]\s*\d+(?:\.\d+)?",
)
_REFUSAL = tuple(re.compile(p, re.IGNORECASE) for p in _REFUSALS)
_LEAK = tuple(re.compile(p, re.IGNORECASE) for p in _LEAKS)
_COORDINATE = tuple(re.compile(p, re.IGNORECASE) for p in _COORDINATES)


def refusal(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """In answers only. That a thing is not in the picture, or cannot be told from it, is an answer."""
    return _matches(draft, Check.refusal, _REFUSAL, answers_only=True)


def leak(draft: Draft, context: Context, config: ChecksConfig) -> list[Finding]:
    """In questions, too: whoever asks sees the picture, not its caption. Coordinates pass for `region_kinds`."""
    coordinates = () if draft.kind in config.region_kinds else _COORDINATE
    return _matches(draft, Check.leak, (*_LEAK, *coordinates), answers_only=False)


def _matches(draft: Draft, check: Check, patterns: Iterable["re.Pattern[str]"], *, answers_only: bool) -> list[Finding]:
    found: list[Finding] = []
    for i, (role, text) in enumerate(draft.turns):
        if answers_only and role != Role.assistant:
            continue
        plain = text.replace("’", "'")
        hit = next((m for p in patterns if (m := p.search(plain))), None)
        if hit:
            found.append(Finding(check, i, shown(hit.group())))
    return found
