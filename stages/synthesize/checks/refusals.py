"""What a model says instead of an answer: that it is a model, that it cannot see, that it will not.

Patterns for one sentence in plain form (`plain`): lower case, no contractions, no hedging adverbs. An inability alone
is an answer ("I cannot tell how old it is"); it refuses where its object is the picture as such, or answering as such.
"""

import re

_CONTRACTIONS = (
    (re.compile(r"[’‘]"), "'"),
    (re.compile(r"\bcan't\b|\bcannot\b|\bcan not\b"), "cannot"),
    (re.compile(r"\bwon't\b"), "will not"),
    (re.compile(r"\bain't\b"), "is not"),
    (re.compile(r"n't\b"), " not"),
    (re.compile(r"\bi'm\b"), "i am"),
    (re.compile(r"\b(i|you|we|they)'ve\b"), r"\1 have"),
    (re.compile(r"\b(i|you|we|they|he|she|it)'ll\b"), r"\1 will"),
    (re.compile(r"\b(i|you|we)'d\b"), r"\1 would"),
    (re.compile(r"\b(you|we|they)'re\b"), r"\1 are"),
    (re.compile(r"\b(it|that|this|there|here)'s\b"), r"\1 is"),
    (re.compile(r"\bunable to\b|\bnot able to\b|\bincapable of\b|\bnot capable of\b"), "unable to"),
    (
        re.compile(
            r"\b(?:actually|directly|currently|really|physically|simply|also|even|honestly|truly|"
            r"personally|kindly|just|"
            r"respectfully|unfortunately|regrettably|sadly|therefore|still|presently|literally|yet|merely|fully|"
            r"visually|at the moment|at this time|of course|in fact|in good conscience|in good faith)\b,? ?"
        ),
        "",
    ),
    (re.compile(r"\s+"), " "),
)
_MODEL = (
    r"(?:a\.?i\.?|artificial intelligence|(?:language|vision|text|ai|text-based|text-only|learning|machine) model|llm|"
    r"chat ?bot|bot|virtual assistant|digital assistant|ai assistant|computer program|large language model|machine|gpt)"
)
_ABILITY = r"(?:abilit(?:y|ies)|capabilit(?:y|ies)|capacity|means|way|access|permission|authority|power|tools?|eyes)"
_PICTURE = (
    r"(?:images?|pictures?|photos?|photographs?|pixels?|visuals?|visual \w+|attachments?|files?|screenshots?|graphics?)"
)
_THE = r"(?:(?:the|this|that|these|those|your|any|an?|actual|such|any of the|said) )*"
_INABLE = (
    r"(?:cannot|could not|am unable to|was unable to|will be unable to|will not be able to|would not be able to|"
    r"am not (?:designed|programmed|trained|equipped|allowed|permitted|supposed|authori[sz]ed|meant|built|made|"
    r"in a position|going|willing|comfortable)(?: to| with)?|"
    rf"(?:do not|did not|do no longer) (?:have|possess) (?:the |an? |any |enough |sufficient |"
    rf"direct )*{_ABILITY}(?: to| of| for)?|"
    rf"(?:lack|have no|have not got) (?:the |any |an? |enough )*(?:\w+ )?{_ABILITY}(?: to| of| for)?|"
    r"will not|would not|do not feel (?:able|comfortable|qualified)(?: to| with)?|"
    r"(?:would|will|must|have to|am going to have to|may have to|need to)(?: have to)? (?:decline|refuse)(?: to)?|"
    r"decline to|refuse to|would (?:rather|prefer)(?: to)? not(?: to)?|prefer not to|"
    r"do not (?:think|believe) (?:that )?i (?:should|can|am able to)|do not know how to)"
)
_ANSWERING = (
    r"(?:help|helping|assist|assisting|answer|answering|comply|complying|fulfil\w*|respond|responding|reply|oblige|"
    r"engage|engaging|continue with (?:this|that|your)|"
    r"(?:complete|carry out|perform|do|process|follow|accept|grant|handle) (?:this|that|your|the|such)"
    r"(?: (?:task|request|instruction|question|order|command|prompt)s?)?(?=[ .!,]|$)|"
    r"(?:provide|providing|give|giving|offer|produce|generate) (?:an? |any |the |that |this |you |with |such )*"
    r"(?:\w+ )?(?:answer|information|response|description|assistance|help|details|caption|opinion)|"
    r"(?:talk|speak|comment)(?:ing)? (?:about|on) (?:this|that|such|it)|discuss(?:ing)? (?:this|that|such|it)|"
    r"say(?:ing)?(?: that| this)?(?=[.!]|$))"
)
_SEEING = (
    rf"(?:seeing|viewing|accessing|opening|looking at|processing|analy[sz]ing|perceiving|interpreting|describing|"
    rf"see|view|access|open|look at|process|analy[sz]e|display|perceive|interpret|inspect|examine|read|observe|load|"
    rf"recogni[sz]e|understand|handle|work with|identify|describe|receive|evaluate)(?:,? (?:or|and) \w+)*"
    rf" {_THE}(?:contents? (?:of|in) {_THE}|content |visual )?{_PICTURE}\b(?! (?:clearly|well|of|more|"
    rf"in (?:more|greater)))"
)
_I = r"\bi (?:(?:\w+ly|am afraid(?: that)? i|am sorry,? (?:but )?(?:that )?i) )?"
REFUSALS = (
    rf"\b(?:as|being) (?:an? |your )(?:[\w-]+ ){{0,5}}{_MODEL}\b",
    rf"\bi am (?:only |but )?(?:an? )(?:[\w-]+ ){{0,5}}{_MODEL}\b",
    rf"\b(?:an?|this) (?:[\w-]+ )?{_MODEL}\b[^,.]{{0,20}}\b(?:like me|such as myself|such as me)\b",
    rf"{_I}{_INABLE} (?:be able to )?(?:\w+ly )?{_ANSWERING}\b",
    rf"{_I}{_INABLE} (?:be able to )?(?:\w+ly )?{_SEEING}",
    r"\bi (?:cannot|do not|am unable to) (?:see|view|perceive|access) (?:it|anything|them|what you (?:see|"
    r"are|have|sent)|"
    r"things)(?=[.!,]| (?:from here|myself|for myself)|$)(?!.*\bof (?:it|the)\b)",
    rf"\bi (?:lack|have no|do not have)(?: (?:the|any|an?|enough|direct|human))* (?:{_ABILITY}|vision|sight|perception|"
    rf"eyesight|visual \w+|physical \w+)\b(?! in (?:the|this) (?:image|picture|photo))",
    rf"\bi (?:do not|cannot) (?:see|find|receive|detect) (?:an?|any|the|your) {_PICTURE}"
    r"(?: (?:attached|uploaded|here|included|"
    r"in (?:your|this|the|our) (?:message|chat|conversation|prompt)))?(?=[.!,;]|$)",
    r"\bi (?:would|will|must|have to|am going to)? ?(?:have to )?(?:decline|refuse)\b",
    r"\bi (?:would )?(?:rather|prefer|choose)(?: to)? not(?: to)?\b",
    r"\bi (?:do not|would not) (?:think|believe|feel|want)(?: that)?(?: i)? (?:should|able to|comfortable|to) "
    r"(?:answer|comment|respond|help|describe|discuss|talk)",
    r"\bi will not (?:answer|do|help|describe|discuss|say|provide|be able to|comment|tell you)\b",
    r"\bi can only (?:read|process|work with|handle|understand|respond to|deal with|see|accept|answer|provide|assist)"
    r"(?: \w+){0,3} (?:text|words|written|language|textual|questions)\b",
    r"\b(?:am|is|are) (?:limited|restricted|confined) to (?:\w+ing )?(?:\w+ )?(?:text|words|language|"
    r"textual|written)\b",
    r"\bmy (?:\w+ )?(?:abilit(?:y|ies)|capabilit(?:y|ies)|training|programming|guidelines|polic(?:y|ies)|principles|"
    r"knowledge cut-?off|creators|developers|scope|function|functions|limitations|design)\b",
    r"\bi (?:was|am|have been) (?:only )?(?:trained|programmed|developed|built|created|designed|instructed)"
    r"(?: (?:only|solely|exclusively|entirely))?(?: (?:on|to|by|for|with|as|not)\b|$|[.,])",
    r"\bagainst (?:my|our|the|openai's?) (?:\w+ )?(?:guidelines|polic\w+|rules|programming|principles|terms|values)\b",
    r"\bviolat(?:es?|ing) (?:my|our|the|openai's?) (?:\w+ )?(?:guidelines|polic\w+|rules|programming|terms)\b",
    rf"\b{_PICTURE} cannot be (?:seen|viewed|processed|opened|read|analy[sz]ed|interpreted|accessed) by me\b",
    rf"\bno {_PICTURE} (?:came through|arrived|loaded|was received|got through|reached me)\b|"
    r"\b(?:there is )?nothing (?:is |was )?(?:attached|uploaded|provided)(?=[.,!]|$)",
    r"\b(?:beyond|outside)(?: of)? what i (?:can|am|could|do)\b",
    r"\bi cannot be of (?:any |much )?(?:help|assistance|use|service)\b",
    rf"\b{_THE}{_PICTURE} (?:did not|does not|will not|would not|failed to|cannot|could not) (?:be )?(?:load|open|"
    r"upload|display|render|download|process)\w*\b(?: properly| correctly)?(?: for me| on my (?:side|end))?(?=[.,!]|$)",
    rf"{_I}{_INABLE} (?:be able to )?(?:identify|recogni[sz]e|name|describe) (?:any |real |specific |private |the )*"
    r"(?:people|individuals|persons|faces)\b",
    rf"\b(?:seeing|viewing|opening|looking at|processing|analy[sz]ing|interpreting|describing) {_THE}(?:{_PICTURE}|"
    rf"people|persons|individuals|faces) is (?:not )?"
    r"(?:something|a thing|anything|possible|within|among|part of|supported|what i)(?: (?:that )?i (?:am not|cannot|"
    r"can|do not|do))?\b",
    r"\bopenai\b|\bcontent policy\b",
    rf"\b(?:no|without (?:an?|any|the|seeing|being able to see|access to)|lack of an?)(?: (?:\w+ )?){_PICTURE} "
    r"(?:was|were|is|are|has been|have been|being|seems to (?:be|have been)|appears to (?:be|have been)) "
    r"(?:\w+ )?(?:provided|attached|uploaded|shared|available|included|given|sent)\b",
    rf"\b(?:there is|there seems to be|there appears to be|i have) no {_PICTURE} (?:for me|attached|provided|uploaded|"
    r"included|here|in (?:your|this) (?:message|prompt|chat)|to (?:look at|analy[sz]e|view|describe|work with|go by))",
    rf"\bwithout (?:seeing|viewing|being able to (?:see|view)|having seen|access to|looking at) {_THE}{_PICTURE}",
    rf"\b(?:not|because i|since i|as i) (?:cannot|can)? ?(?:see|view) {_THE}{_PICTURE}\b(?=,)",
    rf"\byou (?:have not|did not|forgot to|seem to have forgotten to|may have forgotten to) (?:\w+ )?(?:provide|attach|"
    rf"upload|share|include|send)\w* {_THE}{_PICTURE}",
    rf"\b(?:please|could you|can you|would you|if you(?: could| can)?|you could|try to|feel free to)(?: please)? "
    rf"(?:re-?upload|upload|share|provide|attach|send|resend|paste|include|describe|supply) (?:me )?{_THE}"
    rf"(?:\w+ )?{_PICTURE}\b(?! (?:with|to) (?:a|your|my|the) (?:friend|family))",
    r"\b(?:it|that) is (?:not possible|impossible|beyond me|not feasible) for (?:me|an ai|a language model) to\b",
    r"\bit is (?:not possible|impossible) to (?:see|view|answer|assess) .{0,30}\bwithout\b",
    r"\b(?:beyond|outside|exceeds|not within|out of) (?:of )?(?:my|"
    r"the scope of my) (?:\w+ )?(?:capabilit\w+|abilit\w+|scope|"
    r"expertise|reach|knowledge|programming|training|limits)\b",
    r"\b(?:this|that|it) is (?:not )?(?:something|a (?:question|request|task|thing|"
    r"topic)) (?:that )?i (?:cannot|can|am|"
    r"do not|will not|would|could not|have to|must)\b",
    r"\b(?:this|that|your|the|such) (?:request|question|prompt|task|query) (?:cannot be|is (?:inappropriate|not "
    r"appropriate|against|beyond)|goes against|violates)\b",
    r"\b(?:sorry|apologi[sz]e|apologies|regret|afraid|unfortunately)\b[^.?]{0,60}\bi (?:cannot|am unable to|will not|"
    r"could not|am not able to|am not allowed to|must)\b(?! (?:be\b|(?:see|spot|find|detect|make out|discern|tell|say|"
    r"determine|identify|recogni[sz]e|read|count|locate|be (?:sure|certain))\b))",
    r"^(?:i am )?(?:very |so |terribly |deeply )?sorry[,!.]?(?: but)?(?: that)? i (?:cannot|"
    r"am unable to) (?:see|tell|say)"
    r"(?=[.!]|$)",
    r"\bi (?:apologi[sz]e|am sorry) for (?:the|any) (?:inconvenience|confusion|misunderstanding)\b",
    r"\bi (?:do not|cannot) (?:have|hold|form) (?:any )?personal (?:opinions?|experiences?|feelings|"
    r"beliefs|preferences)\b",
)
CHINESE = (
    r"(?:作为|身为)(?:一个|一名|一款|一位|个)?(?:大型|大|基于文本的|纯文本)?(?:的)?(?:AI|ai|人工智能|语言模型|智能助手|聊天机器人|助手|模型)",
    r"我(?:只|仅仅)?是(?:一个|一名|一款|个)?(?:大型|基于文本的)?(?:AI|ai|人工智能|语言模型|聊天机器人|虚拟助手)",
    r"(?:抱歉|对不起|很遗憾|不好意思)[，,。！ ]*(?:但(?:是)?)?我?(?:暂时|目前)?"
    r"(?:无法|不能|没有办法|没法|不便|不可以)(?!看出|看清|确定|判断|辨认|从)",
    r"我(?:暂时|目前|并)?(?:无法|不能|没有办法|没法|不便|不会)(?:直接|真正|实际)?"
    r"(?:查看|看到|看见|访问|打开|处理|回答|提供|协助|帮助|满足|识别|分析|浏览)"
    r"(?:这|该|您|你|任何|图|照|此|视觉|$|[，。])",
    r"我(?:没有|不具备|缺乏)(?:查看|识别|处理|访问|分析|看)?(?:图片|图像|照片|视觉|该|这|能力|权限|眼睛)",
    r"(?:您|你)(?:还)?(?:没有|未|并未|忘记)(?:上传|提供|附上|发送|分享)(?:任何|一张)?(?:图片|图像|照片)",
    r"请(?:您|你)?(?:重新)?(?:上传|提供|发送|分享|描述)(?:一下|该|这张|一张)?(?:图片|图像|照片)",
    r"(?:违反|不符合)(?:了)?(?:我|我们|相关|使用)的?(?:政策|准则|规定|原则)|超出(?:了)?我的(?:能力|范围)",
    r"我(?:必须|只能|不得不)?拒绝(?:回答|描述|提供|这)",
)


def plain(text: str) -> str:
    """A sentence in the form that the patterns are written for."""
    found = text.lower()
    for pattern, instead in _CONTRACTIONS:
        found = pattern.sub(instead, found)
    return found.strip()
