"""Make an example of a decision: what should have been answered, and what was.

In order: the corrected text a person gave; the next answer that the user let stand, or wrote out in the
complaint; a repair of the model's own answer; else the example waits (`needs_pair`) for the learner to find
an answer that heeds.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.acceptance import accepted_answer, written_out
from policies.constraints import Constraint, Detect, broken, read_constraints, repair_all
from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.example import Example, Origin
from policies.label import Label, worst
from policies.messages import CorrectionPayload
from policies.turn import Turn
from policies.twins import twin


def correction_example(
    example_id: str,
    decision: DecisionPoint,
    labels: Sequence[Label],
    *,
    correction: CorrectionPayload | None = None,
    stated: Sequence[Direction] = (),
    later: Sequence[Turn] = (),
    train_above: float = 0.9,
    detect: Detect | None = None,
) -> Example | None:
    """Return the example of an ignored decision, or None when there is nothing sure to learn.

    `labels` are the fused ones; `stated` are directions that a correction brought itself; `later` are the
    turns of the conversation after the decision, where the right answer may stand. Only `ignored` labels of
    at least `train_above` count. Tool calls make no example: only the text of an answer is learned.
    """
    sure = [label for label in labels if label.verdict == "ignored" and label.confidence >= train_above]
    if not sure or decision.call_index > 0 or decision.turn.tool_calls or not decision.turn.content.strip():
        return None
    answer = decision.turn.content
    directions = _directions_of(sure, (*decision.directions, *stated))
    chosen, origin = _chosen(answer, correction, later, directions, decision.directions, detect)
    if chosen == answer.strip():
        return None
    if chosen is None and not directions and correction is None:
        return None  # the next turn complains, but of what is not known: nothing could confirm an answer
    text = " ".join(direction.text for direction in directions) or None
    context = tuple(turn.message() for turn in decision.context)
    # A person may name more sentences of it than the one that we matched.
    named = [text, correction.direction if correction else None]
    taken_out = " ".join(part for part in named if part)
    return Example(
        id=example_id,
        kind="correction",
        decision_id=decision.id,
        direction=text,
        context=context,
        chosen=chosen,
        rejected=answer,
        twin_context=twin(context, taken_out, detect) if text else None,
        origin=origin,
        author=correction.author if correction else None,
        state="ready" if chosen else "needs_pair",
    )


def with_accepted(example: Example, later: Sequence[Turn], detect: Detect | None = None) -> Example | None:
    """Return an example made earlier with the answer that the user let stand since; None without one.

    `later` are the turns after its decision, up to the user turn after the second answer. What a person wrote
    stays.
    """
    if example.origin == "correction" or example.rejected is None:
        return None
    demands = read_constraints(example.direction or "", detect).constraints
    accepted = accepted_answer(later, example.rejected, demands)
    if accepted is None or accepted == example.chosen:
        return None
    return example.model_copy(update={"chosen": accepted, "origin": "accepted", "state": "ready"})


def followed_example(
    example_id: str,
    decision: DecisionPoint,
    labels: Sequence[Label],
    *,
    train_above: float = 0.9,
    detect: Detect | None = None,
) -> Example | None:
    """Return a followed answer as one that is wanted by itself, or None where that is not sure.

    For objectives that need no pairs: an ordinary answer that surely followed a direction that is known.
    """
    ordinary = general_example(example_id, decision, labels)
    sure = [label for label in labels if label.verdict == "followed" and label.confidence >= train_above]
    directions = _directions_of(sure, decision.directions)
    if ordinary is None or not directions:
        return None
    text = " ".join(direction.text for direction in directions)
    said = {"direction": text, "twin_context": twin(ordinary.context, text, detect)}
    return ordinary.model_copy(update={**said, "kind": "correction", "origin": "followed"})


def general_example(example_id: str, decision: DecisionPoint, labels: Sequence[Label]) -> Example | None:
    """Return the agent's ordinary answer as general replay: a plain text answer that nobody calls ignored."""
    turn = decision.turn
    plain = not turn.tool_calls and not turn.interrupted and turn.content.strip()
    asked = any(earlier.role == "user" for earlier in decision.context)
    if not plain or not asked or worst([label.verdict for label in labels]) == "ignored":
        return None
    return Example(
        id=example_id,
        kind="general",
        decision_id=decision.id,
        context=tuple(turn.message() for turn in decision.context),
        chosen=turn.content,
        origin="ordinary",
    )


def _directions_of(sure: Sequence[Label], directions: Sequence[Direction]) -> tuple[Direction, ...]:
    """Return the directions to learn: those of explicit corrections, else the surest one alone."""
    by_id = {direction.id: direction for direction in directions}
    named = [label for label in sure if label.direction_id in by_id]
    corrected = [label for label in named if label.labeller == "correction"]
    if not corrected and any(label.labeller == "correction" for label in sure):
        return ()
    chosen = corrected or sorted(named, key=lambda label: -label.confidence)[:1]
    return tuple(by_id[label.direction_id] for label in chosen if label.direction_id is not None)


def _chosen(
    answer: str,
    correction: CorrectionPayload | None,
    later: Sequence[Turn],
    blamed: Sequence[Direction],
    in_force: Sequence[Direction],
    detect: Detect | None,
) -> tuple[str | None, Origin]:
    """Return the best right answer there is and where it comes from; `few_shot` where there is none yet."""
    corrected = (correction.corrected or "").strip() if correction and correction.verdict == "ignored" else ""
    if corrected:
        return corrected, "correction"
    demands = [c for direction in blamed for c in read_constraints(direction.text, detect).constraints]
    accepted = accepted_answer(later, answer, demands)
    if accepted:
        return accepted, "accepted"
    stated = written_out(later[0].content) if later and later[0].role == "user" else None
    if stated and not broken(stated, demands):
        return stated, "correction"
    repaired = _repair(answer, blamed, in_force, detect)
    return (repaired, "repair") if repaired else (None, "few_shot")


def _repair(
    answer: str, blamed: Sequence[Direction], in_force: Sequence[Direction], detect: Detect | None
) -> str | None:
    """Repair what the blamed directions demand; the result must keep every readable direction in force."""
    target = [c for direction in blamed for c in read_constraints(direction.text, detect).constraints]
    if not broken(answer, target):
        return None
    fresh = {direction.text for direction in blamed}
    others: list[Constraint] = []
    for direction in in_force:
        if direction.text not in fresh:
            others += read_constraints(direction.text, detect).constraints
    # A direction that the answer kept nothing of and that contradicts the blamed one has no say.
    governed = {c.group for c in target if c.group}
    return repair_all(answer, [*target, *(c for c in others if c.group not in governed)])
