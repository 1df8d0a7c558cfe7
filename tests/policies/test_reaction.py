from __future__ import annotations

import pytest
from conversations import talk

from policies.labelling import Case, ReactionLabeller, cases, fuse
from policies.labelling.features import features, own_words
from policies.labelling.fusion import LABEL_ABOVE
from policies.labelling.lexicon import lexicon
from policies.labelling.model import meaning_model, words_model


def case(answer: str, reaction: str, asked: str = "") -> Case:
    lines = [f"u: {asked}"] if asked else []
    return list(cases(talk(*lines, f"a: {answer}", f"u: {reaction}")))[-1]


def said(answer: str, reaction: str, asked: str = "") -> str:
    votes = ReactionLabeller().vote(case(answer, reaction, asked))
    return next((vote.verdict for vote in votes if vote.confidence >= LABEL_ABOVE), "unknown")


@pytest.mark.parametrize(
    ("answer", "reaction"),
    [
        ("Done! The importer writes CSV now.", "no, I told you to keep the JSON output"),
        ("I fixed the upload.", "uploading still fails with the same error"),
        ("I deleted the old handlers.", "why did you delete those?! put them back"),
        ("The list is sorted now.", "you sorted the wrong list"),
        ("All callers are updated.", "you forgot the ones in the worker"),
        ("My uncle sells balloons.", "what are you even talking about"),
        ("It is made of cheese.", "that makes no sense"),
    ],
)
def test_complaint_is_ignored(answer: str, reaction: str) -> None:
    assert said(answer, reaction) == "ignored"


@pytest.mark.parametrize(
    ("answer", "reaction"),
    [
        ("Done! The importer writes CSV now.", "ok, now add a flag for the separator"),
        ("Shall I also update the docs?", "no, not now"),
        ("Would you like to book the room?", "No thanks, I just need the address."),
        ("Which file fails?", "the second one is broken"),
        ("The worker is started.", "how many threads does it use?"),
        ("The worker is started.", "/clear"),
        ("", "the export crashes for empty tables, please find out why"),
        ("[aborted] ", "continue"),
    ],
)
def test_what_only_looks_like_a_complaint_is_not_ignored(answer: str, reaction: str) -> None:
    assert said(answer, reaction) != "ignored"


@pytest.mark.parametrize(
    "reaction",
    [
        "sorry, I meant the other file, that's wrong",
        "oops no, not that one. my mistake",
        "no wait, I gave you the wrong number, it must be 12",
        "scratch that, I should have said weekly",
        "I misread the log, it still fails because of my config, my bad",
    ],
)
def test_user_who_mends_their_own_words_is_never_ignored(reaction: str) -> None:
    assert said("Done! I changed it in both files.", reaction) == "unknown"


@pytest.mark.parametrize(
    "reaction",
    [
        "Nein, das habe ich nicht verlangt, du hast meine Anweisung schon wieder ignoriert.",
        "No, eso no es lo que te pedí, otra vez has ignorado mis instrucciones por completo.",
        "不对，我不是这个意思，请重新来一遍，你又忽略了我的要求。",
    ],
)
def test_language_that_is_not_understood_is_no_evidence(reaction: str) -> None:
    from agent.language import detect_language

    assert ReactionLabeller(detect_language).vote(case("Done!", reaction)) == []


def test_thanks_are_a_faint_followed() -> None:
    (vote,) = ReactionLabeller().vote(case("Done!", "Thanks, that works."))
    assert (vote.verdict, vote.confidence < 0.9) == ("followed", True)


def test_complaint_that_names_no_direction_is_not_sure_enough_to_train_on() -> None:
    (vote,) = ReactionLabeller().vote(
        case("It is.", "that's not what I asked for!!", asked="Answer in one line.")
    )
    assert (vote.verdict, vote.direction_id is None, vote.confidence < 0.9) == ("ignored", False, True)


def test_evidence_names_the_reasons() -> None:
    (vote,) = ReactionLabeller().vote(case("Done!", "I told you not to touch that"))
    assert "I told you" in vote.evidence
    assert "own_demand" in vote.evidence


def test_pasted_code_and_paths_are_not_the_users_words() -> None:
    pasted = (
        "see '/tmp/my pictures/shot 1.png'\n```\nerror: wrong\n```\n    at run (main.js:3)\nTraceback (most"
    )
    assert own_words(pasted) == "see"


def test_there_are_always_the_same_features_and_the_models_know_them() -> None:
    names = set(features(case("", "")))
    assert names == set(features(case("Done!", "no! still wrong", asked="Do it.")))
    assert names == set(words_model().weights)
    assert names < set(meaning_model().weights)
    assert set(lexicon()) < names


def test_meaning_replaces_what_words_alone_say() -> None:
    """One reads the same turn with more understanding: also its silence counts."""
    one = case("Done! The importer writes CSV now.", "no, I told you to keep the JSON output")
    plain = ReactionLabeller().vote(one)
    silent = plain[0].model_copy(update={"labeller": "meaning", "verdict": "unknown", "confidence": 0.0})
    assert [label.verdict for label in fuse(one.decision, plain)] == ["ignored"]
    assert [label.verdict for label in fuse(one.decision, [*plain, silent])] == ["unknown"]


def test_without_a_vector_the_words_alone_are_read() -> None:
    one = case("Done! The importer writes CSV now.", "no, I told you to keep the JSON output")
    (plain,), (lost,) = (
        labeller.vote(one) for labeller in (ReactionLabeller(), ReactionLabeller(embed=lambda _: None))
    )
    assert (lost.labeller, lost.confidence) == ("meaning", plain.confidence)


def test_direction_repeated_in_the_next_request_is_not_sure_enough_to_train_on() -> None:
    votes = ReactionLabeller().vote(
        case("Water.", "And what is snow? Answer in one line.", asked="What is rain? Answer in one line.")
    )
    assert all(vote.confidence < 0.9 for vote in votes)
