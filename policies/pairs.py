"""Make an example of a decision: what should have been answered, and what was.

In order (DESIGN.md section 5, Objective): the corrected text a person gave; a repair of the model's own
answer; else the example waits (`needs_pair`) for the learner to find an answer that heeds.
"""

from __future__ import annotations

from collections.abc import Sequence

from policies.constraints import Constraint, Detect, broken, read_constraints, repair_all
from policies.decision import DecisionPoint
from policies.direction import Direction
from policies.example import Example
from policies.label import Label, worst
from policies.messages import CorrectionPayload
from policies.twins import twin


def correction_example(
    example_id: str,
    decision: DecisionPoint,
    labels: Sequence[Label],
    *,
    correction: CorrectionPayload | None = None,
    stated: Sequence[Direction] = (),
    train_above: float = 0.9,
    detect: Detect | None = None,
) -> Example | None:
    """Return the example of an ignored decision, or None when there is nothing sure to learn.

    `labels` are the fused ones; `stated` are directions that a correction brought itself. Only `ignored`
    labels of at least `train_above` count. Tool calls make no example: only the text of an answer is learned.
    """
    sure = [label for label in labels if label.verdict == "ignored" and label.confidence >= train_above]
    if not sure or decision.call_index > 0 or decision.turn.tool_calls or not decision.turn.content.strip():
        return None
    answer = decision.turn.content
    directions = _blamed(sure, (*decision.directions, *stated))
    corrected = (correction.corrected or "").strip() if correction and correction.verdict == "ignored" else ""
    repaired = None if corrected else _repair(answer, directions, decision.directions, detect)
    chosen = corrected or repaired
    if chosen == answer.strip():
        return None
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
        origin="correction" if corrected else "repair" if repaired else "few_shot",
        author=correction.author if correction else None,
        state="ready" if chosen else "needs_pair",
    )


def general_example(example_id: str, decision: DecisionPoint, labels: Sequence[Label]) -> Example | None:
    """Return the agent's ordinary answer as general replay: a plain text answer that nobody calls ignored."""
    plain = decision.call_index == 0 and not decision.turn.tool_calls and decision.turn.content.strip()
    asked = any(turn.role == "user" for turn in decision.context)
    if not plain or not asked or worst([label.verdict for label in labels]) == "ignored":
        return None
    return Example(
        id=example_id,
        kind="general",
        decision_id=decision.id,
        context=tuple(turn.message() for turn in decision.context),
        chosen=decision.turn.content,
        origin="ordinary",
    )


def _blamed(sure: Sequence[Label], directions: Sequence[Direction]) -> tuple[Direction, ...]:
    """Return the directions to learn: those of explicit corrections, else the surest one alone."""
    by_id = {direction.id: direction for direction in directions}
    named = [label for label in sure if label.direction_id in by_id]
    corrected = [label for label in named if label.labeller == "correction"]
    if not corrected and any(label.labeller == "correction" for label in sure):
        return ()
    chosen = corrected or sorted(named, key=lambda label: -label.confidence)[:1]
    return tuple(by_id[label.direction_id] for label in chosen if label.direction_id is not None)


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
