"""Whose word trains at once, whose within limits, and whose waits for a person.

A level is read from names in the configuration: `source:mqtt` (or log, cli, http), `agent:ID`, `author:NAME`,
`author:NAME@AGENT`. An author is what the sender says, so a bare name can lower trust but never raise it.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median
from typing import Literal

from policies.config import Config, TrustConfig
from policies.constraints import Detect, broken, read_constraints
from policies.decision import DecisionPoint
from policies.example import Example
from policies.messages import CorrectionPayload

Level = Literal["untrusted", "normal", "trusted"]
_ORDER: tuple[Level, ...] = ("untrusted", "normal", "trusted")

LEAST_SPREAD = 0.2
"""Smallest median absolute deviation (of logarithms) that is believed: early losses are much alike."""
_ALIKE = 0.8
"""Share of common words from which two answers say the same."""
_WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class Sender:
    """Who sent something: the kind of source (mqtt, log, cli, http), the agent, and the author it names."""

    source: str
    agent: str
    author: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Return the names that the configuration may know this sender by."""
        names = {f"source:{self.source.partition(':')[0]}", f"agent:{self.agent}"}
        if self.author:
            names |= {f"author:{self.author}", f"author:{self.author}@{self.agent}"}
        return frozenset(names)

    @property
    def person(self) -> tuple[str, str]:
        """Return what stands for one person: an author under one agent."""
        return self.agent, self.author or ""


@dataclass(frozen=True)
class Slot:
    """A correction slot of a batch, or an example that waits for one: by whom, from which conversation.

    `person` is an author under an agent.
    """

    person: tuple[str, str]
    conversation: str
    level: Level


def level_of(sender: Sender, config: TrustConfig) -> Level:
    """Return the level of a sender: distrust wins over trust, and both over the default."""
    if sender.names & set(config.untrusted):
        return "untrusted"
    if sender.names & set(config.trusted):
        return "trusted"
    return "normal" if config.default == "auto" else config.default


def rules_of(config: Config) -> TrustConfig:
    """Return the trust settings in force: `auto` becomes what it means with this broker."""
    if config.trust.default != "auto":
        return config.trust
    level: Level = "trusted" if config.bus.url is None else "normal"
    return config.trust.model_copy(update={"default": level})


def doubt_of_sender(level: Level, by_person: int, by_agent: int, config: TrustConfig) -> str | None:
    """Return why a correction of this sender must wait for a person, None when it need not.

    `by_person` and `by_agent` are their corrections within the last `quota_hours`, without this one. An agent
    may name a new author each time, so the agent's quota binds whatever the names.
    """
    if level == "trusted":
        return None
    if level == "untrusted":
        return "its sender is not trusted"
    hours = f"{config.quota_hours:g} h"
    if by_person >= config.quota:
        return f"its author has used up the quota of {config.quota} corrections in {hours}"
    if by_agent >= config.quota_agent:
        return f"its agent has used up the quota of {config.quota_agent} corrections in {hours}"
    return None


def refusal_of_sender(sender: Sender, agent: str, config: TrustConfig) -> str | None:
    """Return why a sender may not correct a turn of `agent`, None when they may: their own, or as trusted."""
    if sender.agent == agent or level_of(sender, config) == "trusted":
        return None
    return (
        f"turn_event_id: that turn is of agent {agent!r}, and {sender.agent!r} corrects its own alone"
        f' ([trust] trusted = ["agent:{sender.agent}"] lets it)'
    )


def doubt_of_contradiction(
    correction: CorrectionPayload,
    sender: Sender,
    earlier: Sequence[tuple[CorrectionPayload, Sender]],
    config: TrustConfig,
) -> str | None:
    """Return why a correction may not overrule those in force on the same turn; None when it may.

    Trusted people and one's own second thoughts may, a higher level may overrule a lower one.
    """
    level = _ORDER.index(level_of(sender, config))
    if _ORDER[level] == "trusted":
        return None
    for other, author in earlier:
        theirs = _ORDER.index(level_of(author, config))
        overrules = level > theirs or (level == theirs and sender.person == author.person)
        if not overrules and _opposed(correction, other):
            return f"it contradicts correction {other.event_id} of the same turn"
    return None


def doubt_of_example(
    example: Example, decision: DecisionPoint, others: Sequence[Example], detect: Detect | None
) -> str | None:
    """Return why an example of a sender of level `normal` must wait for a person, None when it need not.

    `others` are corrected answers under the same direction by other people.
    """
    if not any(direction.text in (example.direction or "") for direction in decision.directions):
        return "its direction does not stand in the conversation: it would be learned without condition"
    chosen = example.chosen or ""
    demands = read_constraints(example.direction or "", detect).constraints
    if chosen and broken(chosen, demands):
        return f"its answer breaks the direction that it is to teach: {broken(chosen, demands)[0]}"
    against = _against_the_system(example, decision, detect)
    if against is not None:
        return f"its answer breaks a direction of the system turn that the old one kept: {against}"
    for other in others:
        if _contradict(example, other):
            return f"it contradicts example {other.id} of another author"
    return None


def repeats(
    example: Example, earlier: Sequence[Example], ordinary: Set[str], most: int
) -> tuple[str, list[str]] | None:
    """Say what an agent's corrected answers to different questions have in common that nobody asked for.

    `earlier` are those of all its authors: a new name is no new person. The same answer, or a word that
    stands neither in the questions, the rejected answers and the directions nor among the `ordinary` words.
    Returns what it is, and the ids of the earlier examples; None while there are fewer than `most` of them
    with this one: to plant a phrase takes repetition.
    """
    others = [one for one in earlier if one.chosen and _question(one) != _question(example)]
    alike = [one.id for one in others if _same_words(one.chosen or "", example.chosen or "")]
    if example.chosen and len(alike) + 1 >= most:
        return "the same answer", alike
    words = {one.id: added_words(one) - ordinary for one in others}
    for word in sorted(added_words(example) - ordinary):
        sharing = [name for name, added in words.items() if word in added]
        if len(sharing) + 1 >= most:
            return repr(word), sharing
    return None


def vouches(answerer: Sender, sender: Sender, config: TrustConfig) -> bool:
    """Tell whether the words of an ordinary answer are nothing special in a correction by `sender`.

    Such answers come in without admission: who plants a word could have their agent say it first. So an
    answer counts where its sender is trusted, or at `normal` another agent. The base model's own always do.
    """
    level = level_of(answerer, config)
    return level == "trusted" or (level == "normal" and answerer.agent != sender.agent)


def added_words(example: Example) -> frozenset[str]:
    """Return the words of the chosen answer that neither its conversation nor its direction has."""
    given = [str(message.get("content") or "") for message in example.context]
    known = words_of(" ".join([*given, example.rejected or "", example.direction or ""]))
    return words_of(example.chosen or "") - known


def words_of(text: str) -> frozenset[str]:
    """Return the words of at least four letters, in lower case: shorter ones are everywhere."""
    return frozenset(_WORD.findall(text.lower()))


def within_shares(
    waiting: Mapping[str, Slot], taken: Sequence[Slot], slots: int, config: TrustConfig
) -> set[str]:
    """Return those of the waiting examples that may fill the next correction slots of a batch.

    `taken` are the last slots, at most `window`. Who has more than their share of them lets others go first:
    an agent, by whatever names, then a person or conversation of an agent that waits alone. Where nobody else
    waits there is no one to let. Trusted senders have no cap, and take nothing of their agent's.
    """
    recent = taken[-max(0, config.window - slots) :]
    size = len(recent) + slots
    agents = Counter(slot.person[0] for slot in recent if slot.level != "trusted")
    people = Counter(slot.person for slot in recent)
    conversations = Counter(slot.conversation for slot in recent)

    def has_room(slot: Slot) -> bool:
        return slot.level == "trusted" or (
            people[slot.person] + 1 <= config.author_share * size
            and conversations[slot.conversation] + 1 <= config.conversation_share * size
        )

    def agent_has_room(slot: Slot) -> bool:
        return slot.level == "trusted" or agents[slot.person[0]] + 1 <= config.author_share * size

    first = {name: slot for name, slot in waiting.items() if agent_has_room(slot)} or waiting
    return {name for name, slot in first.items() if has_room(slot)} or set(first)


def is_outlier(value: float, earlier: Sequence[float], config: TrustConfig) -> bool:
    """Tell whether a positive value lies far above the earlier ones: median and median absolute deviation
    of the logarithms (Hampel's rule), `outlier` deviations away. Too few earlier ones tell nothing.
    """
    logs = [math.log(one) for one in earlier if one > 0]
    if value <= 0 or len(logs) < config.outlier_after:
        return False
    middle = median(logs)
    spread = max(LEAST_SPREAD, 1.4826 * median(abs(one - middle) for one in logs))
    return math.log(value) - middle > config.outlier * spread


def _opposed(a: CorrectionPayload, b: CorrectionPayload) -> bool:
    if a.verdict != b.verdict:
        return True
    return bool(a.corrected and b.corrected) and not _same_words(a.corrected or "", b.corrected or "")


def _against_the_system(example: Example, decision: DecisionPoint, detect: Detect | None) -> str | None:
    """Name a demand of a system turn that the rejected answer kept and the chosen one breaks."""
    operators = {turn.event_id for turn in decision.context if turn.role in ("system", "developer")}
    governed = {c.group for c in read_constraints(example.direction or "", detect).constraints}
    for direction in decision.directions:
        if direction.event_id not in operators:
            continue
        demands = [c for c in read_constraints(direction.text, detect).constraints if c.group not in governed]
        kept = [c for c in demands if example.rejected is not None and c.check(example.rejected)]
        failing = broken(example.chosen, kept) if example.chosen else []
        if failing:
            return str(failing[0])
    return None


def _contradict(a: Example, b: Example) -> bool:
    """Tell whether what one calls right the other calls wrong, asked the same."""
    if _question(a) != _question(b):
        return False
    pairs = ((a.chosen, b.rejected), (a.rejected, b.chosen))
    return any(one and other and one.split() == other.split() for one, other in pairs)


def _question(example: Example) -> str:
    asked = (m["content"] for m in reversed(example.context) if m["role"] == "user")
    return " ".join(str(next(asked, "")).lower().split())


def _same_words(a: str, b: str) -> bool:
    first, second = set(a.lower().split()), set(b.lower().split())
    return bool(first | second) and len(first & second) >= _ALIKE * len(first | second)
