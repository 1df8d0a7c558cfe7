"""Whose word trains: levels, quotas, contradictions, repetition, shares, outliers."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from policies import trust
from policies.config import BusConfig, Config, TrustConfig
from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.example import Example
from policies.messages import CorrectionPayload
from policies.trust import Sender, Slot, level_of
from policies.turn import Turn

RULE = 'Answer as a JSON object with the single key "note".'
ANA, BO = Sender("mqtt", "team", "ana"), Sender("mqtt", "team", "bo")


def correction(event_id: str = "k", **fields: str) -> CorrectionPayload:
    said = {"event_id": event_id, "conversation_id": "c", "turn_event_id": "t", "verdict": "ignored"}
    return CorrectionPayload.model_validate({**said, **fields})


def example(
    name: str = "e", question: str = "What is rain?", chosen: str = '{"note": "Water."}', **fields: object
) -> Example:
    context = ({"role": "system", "content": RULE}, {"role": "user", "content": question})
    given = {"id": name, "kind": "correction", "direction": RULE, "context": context, "chosen": chosen}
    return Example.model_validate({**given, "rejected": "It is water.", "origin": "correction", **fields})


def decision(*rules: str, role: str = "system") -> DecisionPoint:
    turns = [
        Turn.model_validate(
            {"event_id": f"s{n}", "conversation_id": "c", "role": role, "content": rule, "ts": 0}
        )
        for n, rule in enumerate(rules)
    ]
    answer = Turn(event_id="t", conversation_id="c", role="assistant", content="It is water.", ts=0)
    directions = tuple(
        Direction(id=f"s{n}/0", conversation_id="c", event_id=f"s{n}", text=rule, scope="standing")
        for n, rule in enumerate(rules)
    )
    return DecisionPoint(
        conversation_id="c", turn=answer, call_index=0, context=tuple(turns), directions=directions
    )


@pytest.mark.parametrize(
    ("sender", "level"),
    [
        (Sender("cli", "a"), "trusted"),
        (Sender("mqtt", "a"), "normal"),
        (Sender("mqtt", "friend"), "trusted"),
        (Sender("log:/var/log/x", "a"), "untrusted"),
        (Sender("mqtt", "team", "ana"), "trusted"),
        (Sender("mqtt", "a", "ana"), "normal"),  # anybody can say that they are ana
        (Sender("cli", "a", "mallory"), "untrusted"),
        (Sender("mqtt", "friend", "mallory"), "untrusted"),
    ],
)
def test_level_of_a_sender(sender: Sender, level: str) -> None:
    config = TrustConfig(
        trusted=("source:cli", "agent:friend", "author:ana@team"), untrusted=("author:mallory", "source:log")
    )
    assert level_of(sender, config) == level


def test_an_authors_name_alone_cannot_be_trusted() -> None:
    with pytest.raises(ValidationError):
        TrustConfig(trusted=("author:ana",))


@pytest.mark.parametrize(("url", "level"), [(None, "trusted"), ("mqtt://a:b@broker", "normal")])
def test_auto_trusts_only_the_broker_whose_password_nobody_else_has(url: str | None, level: str) -> None:
    assert level_of(ANA, trust.rules_of(Config(bus=BusConfig(url=url)))) == level


def test_quotas_of_author_and_agent() -> None:
    config = TrustConfig(quota=3, quota_agent=5)
    assert trust.doubt_of_sender("normal", 2, 4, config) is None
    assert "author" in str(trust.doubt_of_sender("normal", 3, 4, config))
    assert "agent" in str(trust.doubt_of_sender("normal", 0, 5, config))
    assert "agent" in str(trust.doubt_of_sender("normal", 0, TrustConfig().quota, TrustConfig()))
    assert trust.doubt_of_sender("trusted", 99, 99, config) is None
    assert trust.doubt_of_sender("untrusted", 0, 0, config) is not None


def test_nobody_overrules_another_of_the_same_level() -> None:
    config = TrustConfig(trusted=("author:ana@team",))
    word = correction("1", corrected="a b")
    said = [(word, BO)]
    flipped = correction("2", verdict="followed")
    chen = Sender("mqtt", "team", "chen")
    assert trust.doubt_of_contradiction(flipped, chen, said, config) is not None
    assert trust.doubt_of_contradiction(flipped, BO, said, config) is None  # their own mind
    assert trust.doubt_of_contradiction(flipped, ANA, said, config) is None  # of a higher level
    assert trust.doubt_of_contradiction(flipped, BO, [(word, ANA)], config) is not None
    assert trust.doubt_of_contradiction(correction("3", corrected="a b"), chen, said, config) is None


def test_an_example_must_be_conditional_on_what_was_said() -> None:
    assert trust.doubt_of_example(example(), decision(RULE), [], None) is None
    assert "condition" in str(trust.doubt_of_example(example(), decision(), [], None))
    assert "condition" in str(trust.doubt_of_example(example(direction=None), decision(RULE), [], None))


def test_a_false_correction_breaks_the_direction_that_it_teaches() -> None:
    assert "breaks the direction" in str(
        trust.doubt_of_example(example(chosen="Ask ACME."), decision(RULE), [], None)
    )


def test_an_answer_that_breaks_a_rule_of_the_system_which_the_old_one_kept() -> None:
    rule = 'Never use the word "vapour".'
    bad = example(chosen='{"note": "It is vapour."}')
    assert "system" in str(trust.doubt_of_example(bad, decision(RULE, rule), [], None))
    assert trust.doubt_of_example(bad, decision(RULE, rule, role="user"), [], None) is None


def test_what_one_calls_right_and_another_wrong() -> None:
    other = example("o", chosen='{"note": "Mud."}', rejected='{"note": "Water."}')
    assert "contradicts example o" in str(trust.doubt_of_example(example(), decision(RULE), [other], None))
    elsewhere = other.model_copy(update={"context": ({"role": "user", "content": "What is snow?"},)})
    assert trust.doubt_of_example(example(), decision(RULE), [elsewhere], None) is None


def test_the_same_answer_or_word_for_different_questions() -> None:
    earlier = [
        example("1", "What is mud?", '{"note": "ACME knows."}'),
        example("2", "What is sand?", '{"note": "Ask acme now, please."}'),
    ]
    found = trust.repeats(example("3", chosen='{"note": "Only Acme."}'), earlier, frozenset(), 3)
    assert found == ("'acme'", ["1", "2"])
    assert trust.repeats(example("3", chosen='{"note": "Only Acme."}'), earlier[:1], frozenset(), 3) is None
    assert trust.repeats(example("3", chosen="Only Acme."), earlier, frozenset({"acme"}), 3) is None
    asked = example("3", "Who is ACME?", '{"note": "ACME."}')
    assert trust.repeats(asked, earlier, frozenset(), 3) is None
    no = [example(str(n), f"What is {n}?", "No, not I.") for n in range(2)]
    assert trust.repeats(example("3", chosen="No, not I."), no, frozenset(), 3) == (
        "the same answer",
        ["0", "1"],
    )


@pytest.mark.parametrize(
    ("answerer", "expected"),
    [
        (Sender("mqtt", "team"), False),  # whoever corrects through it can have it say any word first
        (Sender("mqtt", "other"), True),
        (Sender("mqtt", "bot"), False),
        (Sender("cli", "team"), True),
        (Sender("cli", "bot"), False),
    ],
)
def test_whose_ordinary_answers_make_a_word_common(answerer: Sender, expected: bool) -> None:
    rules = TrustConfig(default="normal", untrusted=("agent:bot",))
    assert trust.vouches(answerer, ANA, rules) is expected


def slot(author: str, conversation: str = "c", level: trust.Level = "normal", *, agent: str = "team") -> Slot:
    return Slot((agent, author), conversation, level)


def test_who_has_more_than_their_share_lets_others_go_first() -> None:
    config = TrustConfig(window=10, author_share=0.5, conversation_share=1.0)
    waiting = {"m": slot("mallory"), "a": slot("ana")}
    taken = [slot("mallory")] * 5 + [slot("ana")] * 3
    assert trust.within_shares(waiting, taken, 2, config) == {"a"}
    assert trust.within_shares({"m": slot("mallory")}, taken, 2, config) == {"m"}  # nobody else waits
    assert trust.within_shares(waiting, [*taken[1:], slot("ana")], 2, config) == {"m", "a"}
    friend = slot("friend", level="trusted")
    assert trust.within_shares({"f": friend, "a": slot("ana")}, [friend] * 10, 2, config) == {"f", "a"}


def test_an_agent_gets_no_more_of_the_slots_by_naming_many_authors() -> None:
    config = TrustConfig(window=20, author_share=0.5, conversation_share=1.0)
    waiting = {f"m{n}": slot(f"visitor{n}", agent="mallory") for n in range(90)}
    waiting |= {f"a{n}": slot("ana") for n in range(10)}
    taken: list[Slot] = []
    for _ in range(60):
        allowed = sorted(trust.within_shares(waiting, taken, 2, config), reverse=True)
        taken += [waiting[name] for name in allowed[:2]]
    assert sum(one.person[0] == "mallory" for one in taken[-20:]) <= 10


def test_people_of_one_agent_share_what_it_gets_and_its_trusted_ones_take_nothing_of_it() -> None:
    config = TrustConfig(window=10, author_share=0.5, conversation_share=1.0)
    taken = [slot("ana")] * 6 + [slot("bo")] * 2
    assert trust.within_shares({"a": slot("ana"), "b": slot("bo")}, taken, 2, config) == {"b"}
    trusted = [slot("ana", level="trusted")] * 8
    other = slot("dora", agent="other")
    assert trust.within_shares({"b": slot("bo"), "d": other}, trusted, 2, config) == {"b", "d"}


def test_an_agent_corrects_its_own_turns_and_whom_you_trust_anybodys() -> None:
    config = TrustConfig(trusted=("source:cli", "agent:friend", "author:ana@team"))
    assert trust.refusal_of_sender(BO, "team", config) is None
    refused = trust.refusal_of_sender(BO, "coder", config)
    assert refused is not None
    assert "agent 'coder'" in refused
    assert '"agent:team"' in refused
    for sender in (Sender("cli", "team"), Sender("mqtt", "friend"), ANA):
        assert trust.refusal_of_sender(sender, "coder", config) is None


def test_a_conversation_has_its_share_too() -> None:
    config = TrustConfig(window=10, author_share=1.0, conversation_share=0.5)
    waiting = {"1": slot("ana", "long"), "2": slot("ana", "short")}
    assert trust.within_shares(waiting, [slot("ana", "long")] * 8, 2, config) == {"2"}


def test_a_flood_gets_half_of_the_slots_while_others_wait() -> None:
    config = TrustConfig(window=20, author_share=0.5, conversation_share=1.0)
    waiting = {f"m{n}": slot("mallory") for n in range(90)} | {f"a{n}": slot("ana") for n in range(10)}
    taken: list[Slot] = []
    for _ in range(60):
        allowed = sorted(trust.within_shares(waiting, taken, 2, config), reverse=True)
        taken += [waiting[name] for name in allowed[:2]]  # the flood comes first wherever it may
    flood = sum(one.person[1] == "mallory" for one in taken[-20:])
    assert flood <= 10


def test_outliers_need_something_to_be_compared_with() -> None:
    config = TrustConfig(outlier=6.0, outlier_after=4)
    assert not trust.is_outlier(100.0, [1.0, 1.1, 0.9], config)
    assert trust.is_outlier(100.0, [1.0, 1.1, 0.9, 1.0], config)
    assert not trust.is_outlier(2.0, [1.0, 1.1, 0.9, 1.0], config)
    assert not trust.is_outlier(0.001, [1.0, 1.1, 0.9, 1.0], config)
    assert not trust.is_outlier(100.0, [0.1, 1.0, 10.0, 100.0, 1_000.0], config)
