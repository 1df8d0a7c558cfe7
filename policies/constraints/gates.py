"""What is no demand, though a pattern would read one: wishes, conditions, denials, what others do or want."""

from __future__ import annotations

import re

from policies.constraints.constraint import Found, Masked

# A demand that is a wish or a choice, or that holds now and then, says nothing about an answer on its own.
_VAGUE = re.compile(
    r"\b(?:unless|except|in case|only for|only when|depending|as needed|"
    r"if possible|try to|ideally|preferably|either|optionally)\b"
)
_CONDITION = re.compile(r"\b(?:if|whenever|when|while|where|until|instead of|rather than|but not)\b")
_LEADING = re.compile(rf"^(?:(?:and|but|also|so|then|please|but only|only),? )*{_CONDITION.pattern}")
_EXAMPLE = re.compile(r"[,(:]? ?\b(?:for example|for instance|such as|e\.g\.?|i\.e\.?)(?!\w)[^;]*")
_HARMLESS_CONDITION = re.compile(
    r"\b(?:when|whenever|while|if) (?:you (?:answer|reply|respond|are answering|write)(?: me| to me)?|"
    r"answering|replying|responding|i ask(?: you)? (?:(?:a|any) questions?|something|anything))\b"
)
_RELEASE = re.compile(
    r"\b(?:don't|do not|no longer|needn't|not) (?:have to|need(?: to)?)\b|\bno need\b|\bnot necessar|"
    r"\bfeel free\b|\byou (?:may|can|could)\b(?! (?:only|not|never))|\bit(?:'s| is) (?:ok|okay|fine)\b|"
    r"\b(?:stop|quit) (?:answer|repl|respond|writ|us)ing\b"
)
# What somebody else wrote, wants or does, and what is asked about it, is no demand on the answer.
_ELSEWHERE = re.compile(
    r"^(?:(?:and|but|so|well|because),? )?(?:(?:he|she|they|his|her|their|my|our)\b|"
    r"i (?:always|never|often|usually|do not|don't|cannot|can't|used to|tried|wrote|have|had|was|am|know|"
    r"think)\b|i(?: want|'d like| would like| need| have)? to (?!see\b|receive\b|get\b)\w+|"
    r"(?:should|shall|may|can|could|do|did|must|would) (?:i|we|he|she|they|it|people)\b|(?:why|when|who|"
    r"whose)\b|how (?:do|does|did|would|can|could|should)\b.*\bi\b|what (?:does|did|happens)\b|"
    r"(?:the|this|that|these|those|each|every|an?|all) (?:\w+ )?(?:users?|customers?|clients?|people|person|"
    r"characters?|man|woman|api|parser|files?|functions?|scripts?|server|endpoint|library|compiler|code|"
    r"programs?|tools?|tests?|class|modules?|config\w*|database|logs?|button|field|column|linter|command|"
    r"commit messages?|variables?|names?)\b(?! should be wrapped)|"
    r"(?:users|customers|clients|people|functions|variables|classes|modules|(?:commit|log|error) messages?|"
    r"(?:variable|function|class|file|branch|test) names)\b)"
)
# A thing to be built has its own rules.
_BUILT = re.compile(
    r"^(?:(?:please|now|then|also|and|first|can you|could you),? )*(?:write|create|add|implement|make|build|"
    r"fix|refactor|update|"
    r"change|generate|define|validate|check|ensure|verify|parse|convert|read|load|find|extract|rename|set)\b"
    r"(?! (?:only|nothing but) json\b)"
    r" (?:(?:me|a|an|the|this|that|some|all|new|every|each) )*(?:[\w+#-]+ ){0,2}?(?:functions?|scripts?|"
    r"programs?|tests?|class|methods?|"
    r"regex|quer(?:y|ies)|parser|endpoint|buttons?|fields?|components?|modules?|migrations?|validator|apis?|"
    r"cli|bug|files?|columns?|"
    r"schema|forms?|code|names?|passwords?|csv|json|dict|strings?|variables?|labels?|words|"
    r"config\w*)\b(?! (?:block|format|or (?:fewer|less))\b)"
)
_GATES = (_VAGUE, _LEADING, _RELEASE, _ELSEWHERE)
_NEGATION = re.compile(
    r"(?:\b(?:not|never|don't|without|avoid|stop|no|isn't|aren't|rather than)\b|n't\b)[^,;:]*$"
)
_ANSWERING = re.compile(
    r"(?:(?:and|then|but|please|also|always|only),? )*(?:answer|reply|respond|explain|tell me|say|"
    r"keep (?:it|your|the)|"
    r"your (?:whole |entire |final )*(?:answer|reply|response|output)|in your (?:answer|reply|response))\b"
)
_TOLD = re.compile(
    r"\b(?:how to|ways? to|(?:try|tries|tried|trying|wants?|wanted|decid\w+|used|learn\w*|refus\w+) to|"
    r"(?:told|asked|asks|tells) (?:me|him|her|them|us) to|"
    r"who (?:is|are|was|were|has|have|had|can|could|must|never|always)?) ?$"
)
# "People never apologise" forbids nothing, "you must never apologise" does.
_NEVER = re.compile(r"\W*(?:never|cannot|can't)\b")
_OTHER_SUBJECT = re.compile(
    r"(?<!\w)(?!(?:you|and|but|please|also|or|so|then|must|should|to|the agent|assistant|model|ai|bot|we|"
    r"now|general|is|on|answers?|repl(?:y|ies)|responses?|outputs?|always|important|note|rule)\b)[a-z']+ ?$"
)
_OWN_NEGATION = re.compile(r"\W*(?:no|not|without|don't|do not|never|avoid|refrain)\b")


def is_demand(sentence: Masked) -> bool:
    """Say whether a sentence may ask something of the agent that does not depend on what comes."""
    plain = _without_asides(sentence)
    return not any(gate.search(plain) for gate in _GATES)


def builds(sentence: Masked) -> bool:
    """Say whether a sentence asks for a thing that has its own rules: a function, a file, a field."""
    return _BUILT.search(_without_asides(sentence)) is not None


def is_of_answer(sentence: Masked, found: Found) -> bool:
    """Say whether a demand stands in a later clause of its own that speaks of the answer."""
    begin, stop = sentence.clause_span(found.start, found.end)
    return begin > 0 and _ANSWERING.match(sentence.text, begin, stop) is not None


def _without_asides(sentence: Masked) -> str:
    """Return the sentence with blanks for its examples and for conditions that always hold."""
    return _HARMLESS_CONDITION.sub(_blank, _EXAMPLE.sub(_blank, sentence.text))


def _blank(match: re.Match[str]) -> str:
    return " " * len(match.group())


def is_conditional(sentence: Masked, found: Found) -> bool:
    """Say whether a condition stands beside a demand in its clause, or begins the clause behind it."""
    begin, stop = sentence.clause_span(found.start, found.end)
    plain = _without_asides(sentence)
    if any(_CONDITION.search(plain, start, end) for start, end in ((begin, found.start), (found.end, stop))):
        return True
    behind = next((end for start, end in sentence.boundaries if start == stop), len(plain))
    return _CONDITION.match(plain[behind:].lstrip()) is not None


def is_denied(sentence: Masked, found: Found) -> bool:
    """Say whether a positive demand stands behind a negation, or is what somebody in a tale wants."""
    before = sentence.text[sentence.clause_span(found.start, found.end)[0] : found.start]
    if _TOLD.search(before):
        return True
    if _NEVER.match(sentence.text, found.start) and _OTHER_SUBJECT.search(before):
        return True
    if found.constraint.prohibits or _OWN_NEGATION.match(sentence.text, found.start):
        return False
    return _NEGATION.search(before) is not None
