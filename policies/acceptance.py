"""Find the right answer to a decision that was ignored, later in the same conversation.

Either the user wrote it out in the complaint, or the agent's next answer was it and the user let it stand.
Precision before recall: a wrong answer to learn costs more than a missed one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from policies.constraints import Constraint, broken
from policies.constraints.manners import NoApology, NoPreamble
from policies.sentences import split_sentences
from policies.turn import Turn

_COMPLAINT = 400  # characters: a longer turn asks for something else besides
_ALIKE = 0.25  # share of the words of the shorter answer that the other has too
_SHORTEST_STATED = 3  # words; a shorter quotation may be one word of the answer
_PRAISE = re.compile(
    r"^\W*(?:(?:ok|okay|yes|yep|ah|oh|cool|wow|now)\b[,.! ]*)*(?:thanks?\b|thank you|thx|perfect|great|"
    r"excellent|awesome|brilliant|"
    r"exactly|well done|good job|nice|that's (?:it|right|perfect|great|exactly|better|what i)|much better|"
    r"looks good|lgtm|correct\b)"
)
_OBJECTION = re.compile(
    r"\b(?:no|not|but|however|still|again|wrong|instead|i (?:said|asked|told|meant|want)|you (?:forgot|"
    r"ignored|didn't|keep)|why)\b|n't\b"
)
_WRITTEN_OUT = re.compile(
    r"(?:\bshould (?:be|have (?:been|said|read)|say|read)|\b(?:right|correct) answer (?:is|was|would be)|"
    r"\bi (?:wanted|expected)|(?:^|[.!,:;\n] ?|\b(?:just|please|instead|rather|to) )(?:say|write|"
    r"answer|reply with))\b[^\"“`\n:]{0,20}:?\s*"
    r"(?:```[\w+-]*\n(?P<block>.+?)\n?```|[\"“](?P<quoted>[^\"“”]{1,2000})[\"”])"
    r"[.!\s]*(?:instead[.!\s]*)?$",
    re.I | re.S,
)
_INTERJECTION = re.compile(
    r"\A(?:oh,? )?(?:so |very |i'm |i am )*(?:sorry|apologies|oops|my bad)(?: about that)?[.!:]+\s+", re.I
)
_ANNOUNCES = re.compile(
    r"^\W*(?:(?:here(?:'s| is| are)|this is|below is) (?:the |my |your |a |an )?(?:\w+ ){0,3}(?:version|"
    r"answer|response|reply|rewrite|summary|"
    r"revision|attempt|list|table)|you(?:'re| are) (?:absolutely |completely )?right|(?:good|fair) (?:point|"
    r"catch)|my mistake|"
    r"let me (?:try|fix|correct|redo|rewrite)|i(?:'ll| will) (?:try|fix|correct|redo|rewrite)|thanks for|"
    r"thank you for)\b",
    re.I,
)


def written_out(complaint: str) -> str | None:
    """Return the answer that a complaint itself writes out ("it should be: ..."), else None."""
    match = _WRITTEN_OUT.search(complaint.strip()[: 20 * _COMPLAINT])
    if match is None:
        return None
    if match.group("block") is not None:
        return match.group("block").strip() or None
    quoted = match.group("quoted").strip()
    return quoted if len(quoted.split()) >= _SHORTEST_STATED else None


def accepted_answer(later: Sequence[Turn], answer: str, demands: Sequence[Constraint]) -> str | None:
    """Return the agent's next answer if the user let it stand; `later` are the turns after the decision.

    The complaint is short, the next answer follows at once and without tool calls, is about the same thing,
    and breaks none of `demands`. The user's turn after it praises; where the answer keeps all demands, it is
    enough that the turn does not object.
    """
    if [turn.role for turn in later[:3]] != ["user", "assistant", "user"]:
        return None
    complaint, second, reaction = later[:3]
    if second.tool_calls or len(complaint.content) > _COMPLAINT:
        return None
    bare = _without_excuses(second.content)
    if not bare or bare == answer.strip() or broken(bare, demands) or not _alike(bare, answer):
        return None
    said = " ".join(reaction.content.replace("’", "'").lower().split())[:_COMPLAINT]
    objects = _OBJECTION.search(said) is not None
    praised = _PRAISE.match(said) is not None and not objects
    kept = bool(demands) and all(demand.check(bare) for demand in demands)
    return bare if praised or (kept and said and not objects) else None


def _without_excuses(text: str) -> str:
    """Return an answer without the sentences at its beginning that only speak of the complaint."""
    text = _INTERJECTION.sub("", text.strip(), count=1)
    sentences = split_sentences(text)
    begin = 0
    for sentence in sentences[:3]:
        excuse = NoApology().check(sentence.text) is False or NoPreamble().check(sentence.text) is False
        if not excuse and not _ANNOUNCES.match(sentence.text.replace("’", "'")):
            return text[begin:].strip() if begin else text.strip()
        begin = sentence.end
    return text[begin:].lstrip(" \t\n:").strip()


def _alike(one: str, other: str) -> bool:
    a, b = (set(re.findall(r"\w{4,}", text.lower())) for text in (one, other))
    return bool(a and b) and len(a & b) >= _ALIKE * min(len(a), len(b))
