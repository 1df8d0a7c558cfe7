"""Find directing sentences, and keep track of which are in force.

A directing sentence says how to answer or act, for one answer (`once`) or until further notice
(`standing`). A plain question or task is none. System and developer turns give standing directions; a
user's is standing when it says so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from policies.constraints import Constraint, Detect, read_constraints
from policies.direction import Direction, Scope
from policies.sentences import split_sentences, word_set
from policies.turn import Role, Turn

_LONGEST = 1_000  # characters of a sentence; what is longer is pasted material
_READ = 64_000  # characters of a message that are read at each end
_DIRECTING_ROLES: frozenset[Role] = frozenset({"system", "developer", "user"})

# Each part ends at a fixed word or at the first comma: nothing is tried twice, however long the sentence.
_OPENING = (
    r"(?:(?:please|and|but|also|then|now|so|ok|okay|again|remember|note|important|rules?|instead|just|kindly|"
    r"next time|from now on|going forward|from here on|henceforth|in (?:the )?future|"
    r"in this (?:chat|conversation|session)|"
    r"(?:for|in) (?:all|every|each|any|your)(?: \w+)?(?: of)?(?: \w+)? "
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
    r"help|act|assume|consider|create|describe|do|focus|handle|ignore|inform|invoke|let|look|obtain|"
    r"offer|pass|perform|point|preserve|proceed|push|commit|reject|remind|request|review|search|send|"
    r"set|suggest|transfer|try|update|wait|work)\b"
)
_OBLIGED = (
    r"\b(?:you|the (?:agent|assistant|model|ai|bot)|we) (?:must|should|shall|have to|need to|"
    r"are (?:not )?(?:to|allowed|required|expected)|"
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
    r"by default|"
    r"for (?:all|every|any) (?:\w+ )?(?:questions?|answers?|replies|messages?|tasks?))\b"
)
_SYSTEM = re.compile(
    rf"^{_OPENING}(?:{_PROHIBITION}|{_HABIT}|{_MANNER_VERB}|{_SHAPING_VERB}|{_BASE_VERB})|{_OBLIGED}|"
    rf"{_ANSWER_MUST}|{_WISH}"
)
_USER = re.compile(
    rf"^{_OPENING}(?:{_PROHIBITION}|(?:always|never)\b|{_MANNER_VERB}.*\b(?:in|with|as|using|without|"
    rf"only|like|briefly|"
    rf"politely|formally|to me|under|at most|concisely|shortly|bluntly)\b)"
    rf"|^{_OPENING}write (?:in|for|as|like)\b|^{_OPENING}(?:{_HABIT}|{_SHAPING_VERB}|"
    rf"{_BASE_VERB}).*\b(?:{_ANSWER}|only|brief|short|concise)\b.*|{_ANSWER_MUST}|"
    rf"{_OBLIGED}.*\b(?:{_ANSWER}|always|never|only)\b|{_WISH}.*\b(?:{_ANSWER}|always|never|only)\b"
    rf"|^{_OPENING}be (?!able|there|right|my|the|an? |sure|back|on|in )(?:more |less |very )?[a-z]+"
    r"|^no (?!problem|worr|need|thank|idea|way|one|rush|doubt|wonder|matter|luck|more questions|issue|"
    r"clue|time|it|i |that|but|not)"
    r"[a-z]+(?: [a-z]+)?(?: please)?[.!]?$"
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
    r"\buse (?:\w+ ){0,2}(?:words|language|sentences|emojis|markdown)\b|\bwrite (?:in|for|as|like)\b|"
    r"\b(?:tone|style|voice)\b"
)
_LETTING_GO = re.compile(
    r"^(?:(?:please|ok|okay|now|and|so|actually|you can|you may)[,:]? )*(?:forget|ignore|disregard|"
    r"drop|cancel|scrap|never ?mind)\b"
    r"(?P<what>.*\b(?:i (?:said|asked|told)|instructions?|directions?|rules?|requests?|format|"
    r"constraints?|about)\b.*)$"
)
_NO_LONGER = re.compile(
    r"\byou (?:don't|do not|no longer|needn't)(?: (?:have to|"
    r"need(?: to)?))?\b(?P<what>.*)\b(?:any ?more|any longer|from now on)\b"
    r"|\byou no longer (?:have to|need to)\b(?P<then>.*)"
    r"|^(?:(?:please|ok|okay|now)[,:]? )*(?:stop|quit) (?:answering|replying|responding|writing|"
    r"talking|speaking)\b(?P<stop>.*)"
    r"|\b(?:back|return) to (?:normal|your usual|the usual)\b(?P<back>)"
)
_EMPTY_WORDS = word_set(
    """
    a about again all an and answer answers any anymore as ask asked at be directions do earlier
    forget from have i in instruction instructions is it last me more my need no not now of on only
    or please previous rule rules reply respond response said should stop tell that the this to told
    use what with words write you your
    """
)


def directing_sentences(
    content: str, role: Role, detect: Detect | None = None
) -> tuple[tuple[str, Scope], ...]:
    """Return the directing sentences of one message with their scopes, in order.

    Of a very long message only the beginning and the end are read: what is between is pasted material.
    `detect` (language detection) only helps to recognise a demand for a language.
    """
    if role not in _DIRECTING_ROLES:
        return ()
    if len(content) > 2 * _READ:
        content = f"{content[:_READ]}\n\n{content[-_READ:]}"
    found: dict[str, Scope] = {}
    for sentence in split_sentences(content):
        if sentence.heading or len(sentence.text) > _LONGEST:
            continue
        if _directs(sentence.text, role, detect):
            found.setdefault(sentence.text, _scope(sentence.text, role))
    return tuple(found.items())


def directions_of(turn: Turn, detect: Detect | None = None) -> tuple[Direction, ...]:
    """Return the directions that a turn gives; their ids are `<event id>/<n>`."""
    return tuple(
        Direction(
            id=f"{turn.event_id}/{number}",
            conversation_id=turn.conversation_id,
            event_id=turn.event_id,
            text=text,
            scope=scope,
        )
        for number, (text, scope) in enumerate(directing_sentences(turn.content, turn.role, detect))
    )


@dataclass(frozen=True)
class Force:
    """The directions in force at one place of a conversation. `Force()` is its beginning."""

    system: tuple[Direction, ...] = ()
    user: tuple[Direction, ...] = ()
    once: tuple[Direction, ...] = ()

    def directions(self, detect: Detect | None = None) -> tuple[Direction, ...]:
        """Return what an answer here has to heed: where two contradict, the later and closer one."""
        kept: list[Direction] = []
        for direction in (*self.system, *self.user, *self.once):
            kept = [*_not_replaced(kept, direction, detect), direction]
        return tuple(kept)


def advance(force: Force, turn: Turn, detect: Detect | None = None) -> Force:
    """Return what is in force after a turn: a user turn ends what was asked once, and may withdraw."""
    if turn.role not in _DIRECTING_ROLES:
        return force
    given = directions_of(turn, detect)
    if turn.role != "user":
        return Force(_add(force.system, given, detect), force.user, force.once)
    kept = _withdraw(force.user, turn.content, detect)
    standing = tuple(direction for direction in given if direction.scope == "standing")
    once = tuple(direction for direction in given if direction.scope == "once")
    return Force(force.system, _add(kept, standing, detect), _add((), once, detect))


@lru_cache(maxsize=8192)
def _directs(sentence: str, role: Role, detect: Detect | None) -> bool:
    text = _plain(sentence)
    if _LETTING_GO.search(text) or _NO_LONGER.search(text):
        return False
    if read_constraints(sentence, detect).constraints:
        return True
    if text.rstrip("\"')").endswith("?"):
        return False
    if role != "user":
        return _SYSTEM.search(text) is not None
    if _STANDING.search(text) and _SYSTEM.search(text):
        return True
    if _USER.search(text) is None:
        return False
    return _TASK.match(text) is None or _ABOUT_ANSWER.search(text) is not None


def _scope(text: str, role: Role) -> Scope:
    return "standing" if role != "user" or _STANDING.search(_plain(text)) else "once"


def _plain(text: str) -> str:
    """Return the sentence as the patterns expect it: lower case, straight quotes, no emphasis marks."""
    return " ".join(text.replace("’", "'").replace("*", "").replace("_", " ").lower().split())


def _add(old: Sequence[Direction], new: Sequence[Direction], detect: Detect | None) -> tuple[Direction, ...]:
    kept = list(old)
    known = {_plain(direction.text) for direction in kept}
    for direction in new:
        if _plain(direction.text) not in known:
            kept = [*_not_replaced(kept, direction, detect), direction]
    return tuple(kept)


def _not_replaced(old: list[Direction], new: Direction, detect: Detect | None) -> list[Direction]:
    """Return the old ones that can hold beside a newer one; those of its own turn always do."""
    demands = read_constraints(new.text, detect).constraints
    if not demands:
        return old
    return [
        direction
        for direction in old
        if direction.event_id == new.event_id
        or not any(
            _contradicts(a, b) for a in demands for b in read_constraints(direction.text, detect).constraints
        )
    ]


def _contradicts(a: Constraint, b: Constraint) -> bool:
    if {a.kind, b.kind} in ({"bullets", "sentence_count"}, {"bullets", "line_count"}):
        return True  # three bullets are three lines, whatever was said of sentences
    return bool(a.group) and a.group == b.group and a != b


def _withdraw(standing: Sequence[Direction], content: str, detect: Detect | None) -> tuple[Direction, ...]:
    """Take out what a user turn withdraws: what it names, or everything when it names nothing."""
    kept = tuple(standing)
    for sentence in split_sentences(content[:_READ]) if kept else ():
        match = _LETTING_GO.search(_plain(sentence.text)) or _NO_LONGER.search(_plain(sentence.text))
        if match:
            named = _content_words(" ".join(group for group in match.groups() if group))
            kept = tuple(d for d in kept if named and not named & _content_words(_plain(d.text)))
    return kept


def _content_words(text: str) -> frozenset[str]:
    words = (
        re.sub(r"(?:ing|s|es)$", "", word)
        for word in re.findall(r"[a-z]{2,}", text)
        if word not in _EMPTY_WORDS
    )
    return frozenset(word for word in words if word and word not in _EMPTY_WORDS)
