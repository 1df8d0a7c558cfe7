"""Tell directing sentences from the rest: rules and requests about how to answer or act.

A directing sentence says how to answer or act, for one answer (`once`) or until further notice (`standing`).
A plain question or task is none; neither is an example, a quotation, or what a tool's manual says. System and
developer turns give standing directions; a user's is standing when it says so, or when it forbids something
that is done.
"""

from __future__ import annotations

import re
from functools import lru_cache

from policies.constraints import Detect, ToolConstraint, read_constraints
from policies.direction import Scope
from policies.sentences import Sentence, split_sentences
from policies.turn import Role
from policies.withdrawal import withdraws

_LONGEST = 1_000  # characters of a sentence; what is longer is pasted material
_READ = 64_000  # characters of a system turn that are read at each end
_READ_OF_USER = 4_000  # of a user's: between is what they pasted
DIRECTING_ROLES: frozenset[Role] = frozenset({"system", "developer", "user"})

# Each part ends at a fixed word or at the first comma: nothing is tried twice, however long the sentence.
_OPENING = (
    r"(?:(?:please|and|but|also|then|now|so|ok|okay|again|remember|note|important|rules?|instead|just|kindly|"
    r"next time|from now on|going forward|from here on|henceforth|in (?:the )?future|"
    r"in this (?:chat|conversation|session)|(?:for|in) (?:all|every|each|any|your)(?: \w+)?(?: of)?(?: \w+)? "
    r"(?:answers?|repl(?:y|ies)|responses?|messages?)|"
    r"(?:for|in|when|whenever|while|if|before|after|unless|until|once|as soon as|every time|each time)\b"
    r"[^,:]{1,120}(?=[,:]))[,:]? )*"
)
_ANSWER = (
    r"(?:answers?|answering|repl(?:y|ies)|replying|respon(?:d|se|ses|ding)|outputs?|messages?|"
    r"explanations?|sentences?|words?|bullets?|bullet points|paragraphs?|lines?|letters|language|"
    r"tone|style|voice|format|markdown|json|emojis?)"
)
_PROHIBITION = (
    r"(?:(?:do not|don't|never|avoid|no more|refrain from|stop|quit|skip)\b"
    r"(?! (?:worry|mind|know|think|get me wrong|forget me)))"
)
_HABIT = (
    r"(?:always|only|be sure to|make sure|ensure|remember to|be (?!careful what|able)[a-z]+|stick to|"
    r"limit|restrict|address me|call me|refer to|treat|prefer|follow|obey|adhere)\b"
)
_MANNER_VERB = r"(?:answer|reply|respond|speak|talk)\b"
_SHAPING_VERB = (
    r"(?:write|use|keep|give|output|return|end|finish|begin|start|open|close|include|format|put|wrap|"
    r"make|say|mention|provide|produce|add|leave|omit|state|phrase|word|structure|present|list|"
    r"explain|summari[sz]e)\b"
)
_BASE_VERB = (
    r"(?:ask|check|verify|confirm|run|test|read|report|tell|show|call|cite|quote|explain|think|stay|"
    r"help|act|assume|consider|create|describe|do|focus|handle|ignore|inform|invoke|look|obtain|"
    r"offer|pass|perform|point|preserve|proceed|push|commit|reject|remind|request|review|search|send|"
    r"set|suggest|transfer|try|update|wait|work)\b"
)
_OBLIGED = (
    r"(?:^|[,:;(] ?|\b(?:and|but|so|then|that|because|otherwise|therefore|instead|also|reply|sure) )"
    r"(?:(?:always|also|then|now|however|please|as an? \w+),? )*"
    r"(?:you|the (?:agent|assistant|model|ai|bot)) (?:must|should|shall|have to|need to|"
    r"are (?:not |never )?(?:to|allowed|required|expected|forbidden)|"
    r"may only|can only|may not|cannot|can't|must not|mustn't|shouldn't|should (?:always|never|only)|"
    r"will (?:always|never|only))\b"
)
_ANSWER_MUST = (
    rf"\b(?:your|the|each|every|all|any)[\w' ]{{0,30}} {_ANSWER} (?:must|should|has to|have to|"
    rf"needs? to|is to|are to|may|can(?:not)?|shall)\b"
)
_WISH = (
    r"^(?:i want you to|i need you to|i(?:'d| would) (?:like|prefer)(?: it if)? you(?:r)?|i(?:'d|"
    r" would) like your|i want your|i expect)\b"
)

_STANDING = re.compile(
    r"\b(?:from now on|from here on|always|never|going forward|in (?:the )?future|henceforth|for the rest of|"
    r"every (?:time|single|answer|reply|response|message|turn)|each (?:time|answer|reply|response|"
    r"message)|whenever|"
    r"(?:in )?all (?:of )?(?:your|future|following|further|later|my) (?:answers|replies|responses|"
    r"messages|questions)|"
    r"until (?:i|further)|throughout (?:this|the|our)|in this (?:chat|conversation|session)|as a rule|"
    r"by default|for (?:all|every|any) (?:\w+ )?(?:questions?|answers?|replies|messages?|tasks?))\b"
)
_SYSTEM = re.compile(
    rf"^{_OPENING}(?:{_PROHIBITION}|{_HABIT}|{_MANNER_VERB}|{_SHAPING_VERB}|{_BASE_VERB})|{_OBLIGED}|"
    rf"{_ANSWER_MUST}|{_WISH}"
)
_USER = re.compile(
    rf"^{_OPENING}(?:{_PROHIBITION}|(?:always|never)\b|{_MANNER_VERB}.*\b(?:in|with|as|using|without|"
    rf"only|like|briefly|politely|formally|to me|under|at most|concisely|shortly|bluntly)\b)"
    rf"|^{_OPENING}write (?:in|for|as|like)\b|^{_OPENING}(?:{_HABIT}|{_SHAPING_VERB}|"
    rf"{_BASE_VERB}).*\b(?:{_ANSWER}|only|brief|short|concise)\b.*|{_ANSWER_MUST}|"
    rf"{_OBLIGED}.*\b(?:{_ANSWER}|always|never|only)\b|{_WISH}.*\b(?:{_ANSWER}|always|never|only)\b"
    rf"|^{_OPENING}be (?!able|there|right|my|the|an? |sure|back|on|in )(?:more |less |very )?[a-z]+"
    r"|^no (?!problem|worr|need|thank|idea|way|one|rush|doubt|wonder|matter|luck|more questions|issue|"
    r"clue|time|it|i |that|but|not)[a-z]+(?: [a-z]+)?(?: please)?[.!]?$"
)
# A task about a text is none about the answer ("write a short story", "list all words that rhyme").
_TASK = re.compile(
    rf"^{_OPENING}(?:write|create|give|make|provide|produce|list|explain|summari[sz]e|describe|show|"
    rf"tell|add|put|set|open|"
    r"close|start|run|test|check|update|send|call|read|look|search|find|fix|help|suggest|let|return|"
    r"output|include|use|review)\b"
)
_ABOUT_ANSWER = re.compile(
    r"\b(?:your|every|each|all|any|the|this) (?:\w+ )?(?:answers?|repl(?:y|ies)|responses?|outputs?|"
    r"messages?)\b|\bonly\b|\bnothing else\b|"
    r"\buse (?:(?:only|no|less|more|fewer|plain|simple|simpler|short|shorter|formal|informal|easy|"
    r"clear) )*(?:words|language|sentences|emojis|markdown)\b|\bwrite (?:in|for|as|like)\b|"
    r"\b(?:tone|style|voice)\b"
)
_ONLY_NOW = re.compile(
    r"\b(?:just )?(?:this (?:time|once)|for now|for this (?:one|answer|reply|response|message|question|"
    r"task)|in this (?:answer|reply|response|message|one))\b"
)
# What only looks like a rule: a manual's line on a command, a label, a turn of a dialogue that is quoted.
_NO_RULE = re.compile(
    r"^(?:(?:(?:oh|ok|no|and|please),? )*(?:never ?mind|don't (?:worry|mind|bother))\b|[\w-]+:?$|"
    r"[\w.-]+ ?(?:<|\[<?\w|\((?:string|integer|boolean|number|array|object|optional|required)\b)|"
    r"(?:user|assistant|human|ai|customer|agent|system|input|output|example|answer|question|q|a): |"
    r"(?:e\.g\.|for example|for instance|example)\b)"
)
_QUOTATION = re.compile(r"\"[^\"]{1,400}\"|“[^”]{1,400}”|`[^`]{1,400}`")
_EXAMPLE_TAGS = ("example", "examples", "sample", "demonstration")


def directing_sentences(
    content: str, role: Role, detect: Detect | None = None
) -> tuple[tuple[str, Scope], ...]:
    """Return the directing sentences of one message with their scopes, in order.

    Of a very long message only the beginning and the end are read: what is between is pasted material.
    `detect` (language detection) only helps to recognise a demand for a language.
    """
    if role not in DIRECTING_ROLES:
        return ()
    found: dict[str, Scope] = {}
    for sentence in _own_sentences(_ends_of(content, _READ_OF_USER if role == "user" else _READ), role):
        if _directs(sentence.text, role, detect):
            found.setdefault(sentence.text, _scope(sentence.text, role, detect))
    return tuple(found.items())


def plain(text: str) -> str:
    """Return a sentence as the patterns expect it: lower case, straight quotes, no emphasis marks."""
    unmarked = re.sub(r"(?<!\w)_(?=\w)|(?<=\w)_(?!\w)", " ", text.replace("’", "'").replace("*", ""))
    return " ".join(unmarked.lower().split())


def _ends_of(content: str, size: int) -> str:
    return content if len(content) <= 2 * size else f"{content[:size]}\n\n{content[-size:]}"


def _own_sentences(content: str, role: Role) -> list[Sentence]:
    """Return the sentences that are the author's own: no examples, no lines that a user quotes."""
    text = _without_examples(content)
    own = []
    in_examples = False
    for sentence in split_sentences(text):
        if sentence.heading:
            in_examples = "example" in sentence.text.lower()
        elif not in_examples and len(sentence.text) <= _LONGEST:
            line = text.rfind("\n", 0, sentence.start) + 1
            if role != "user" or not text[line : sentence.start].lstrip().startswith(">"):
                own.append(sentence)
    return own


def _without_examples(text: str) -> str:
    """Take out what stands in example tags; an opening tag that is never closed opens nothing."""
    for tag in _EXAMPLE_TAGS:
        kept, at = [], 0
        while (start := text.find(f"<{tag}>", at)) >= 0:
            end = text.find(f"</{tag}>", start)
            if end < 0:
                break
            kept.append(text[at:start])
            at = end + len(tag) + 3
        text = "\n".join([*kept, text[at:]])
    return text


@lru_cache(maxsize=1024)
def _directs(sentence: str, role: Role, detect: Detect | None) -> bool:
    text = plain(sentence)
    if withdraws(text) or _NO_RULE.match(text):
        return False
    if read_constraints(sentence, detect).constraints:
        return True
    text = _QUOTATION.sub('""', text)
    if text.rstrip("\"')").endswith("?"):
        return False
    if role != "user":
        return _SYSTEM.search(text) is not None
    if _STANDING.search(text) and _SYSTEM.search(text):
        return True
    if _USER.search(text) is None:
        return False
    return _TASK.match(text) is None or _ABOUT_ANSWER.search(text) is not None


def _scope(text: str, role: Role, detect: Detect | None) -> Scope:
    if role != "user":
        return "standing"
    said = plain(text)
    if _ONLY_NOW.search(said):
        return "once"
    # What must not be done to a file or a branch holds for the work, not for one answer.
    on_actions = any(isinstance(c, ToolConstraint) for c in read_constraints(text, detect).constraints)
    return "standing" if on_actions or _STANDING.search(said) else "once"
