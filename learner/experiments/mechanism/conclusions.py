"""From cells to findings: one function a part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from learner.experiments.intervals import minus, of_share, sign
from learner.experiments.mechanism import recipes
from learner.experiments.mechanism.finding import (
    Cell,
    Finding,
    Groups,
    Unmeasured,
    behaviour_of,
    count,
    mean,
    nested,
    of_recipe,
    said,
)
from learner.experiments.mechanism.update import GAUSSIAN

ATTENTION = "Does an answer attend more to its direction after training?"
PARAMETERS = "Which parameters must learn?"
FLATNESS = "Is Apollo's result flatter and broader than AdamW's?"
SPARSITY = "Is the update sparse?"
LIVE = "Does training into a serving model differ from training with the server stopped?"
REPLAY = "What does general replay protect, and how much of it?"
_LEAK = ("leak", "leak_other")
_REF = recipes.REFERENCE


def attention(cells: Sequence[Cell], base: Cell) -> Finding | Unmeasured:
    """Compare the direction's share of attention after training with and without it in the context."""
    trained, control = (_shares(cells, name, "direction") for name in (_REF, recipes.CONTROL))
    if not trained[0]:
        return Unmeasured("a", ATTENTION, "the model has no softmax attention layer")
    before = [_by_prompt(base["attention"], "direction")] * len(trained)
    beyond, grown = minus(trained, control), minus(trained, before)
    questions = _shares(cells, _REF, "question")
    asked = minus(questions, [_by_prompt(base["attention"], "question")] * len(trained))
    interval = nested(beyond)
    rise, ahead = sign(nested(grown)), sign(interval)
    verdict = {1: "Yes", 0: "Not measurable at this size", -1: "No"}[rise]
    verdict += ", but not beyond the control" if rise > 0 >= ahead else ""
    moved = {1: "rises", 0: "does not measurably change", -1: "falls"}[rise]
    ends = {1: "above", 0: "not measurably apart from", -1: "below"}[ahead]
    answer = (
        f"{verdict}: the direction's share of attention {moved} ({_points(grown)} points, from"
        f" {mean(before):.2%} to {mean(trained):.2%}). It ends {ends} the control's, which is trained"
        f" on the same answers without the direction ({mean(control):.2%}, {_points(beyond)} points apart)."
        f" The question's share moves by {_points(asked)} points."
    )
    measured = "change of the direction's share of attention, beyond the control training's"
    return Finding("a", ATTENTION, answer, measured, mean(beyond), interval, count(beyond), _seeds(cells))


def _shares(cells: Sequence[Cell], recipe: str, part: str) -> Groups:
    return [_by_prompt(cell["attention"], part) for cell in of_recipe(cells, recipe)]


def _by_prompt(masses: Sequence[Mapping[str, list[float]]], part: str) -> list[float]:
    """Return the mean over layers, by prompt."""
    return [fmean(found[part]) for found in masses if found[part]]


def _points(groups: Groups) -> str:
    """Write a difference of shares in percentage points, with its interval."""
    low, high = nested(groups)
    return said(100 * mean(groups), (100 * low, 100 * high))


def parameters(cells: Sequence[Cell], gates: bool) -> Finding | Unmeasured:
    """Compare learning in some of the parameters with learning in all, at equal steps."""
    names = [name for name in ("queries", "gates", "mlp", "attention", "queries_fast") if _has(cells, name)]
    if not names:
        reason = "the model names no queries, gates, MLPs or attention layers of their own"
        return Unmeasured("b", PARAMETERS, reason)
    whole = behaviour_of(cells, _REF, "follow")
    base = behaviour_of(cells, "base", "follow") * len(whole)
    if sign(nested(minus(whole, base))) <= 0:
        reason = f"all parameters together do not follow more than the base ({mean(whole):.2f})"
        return Unmeasured("b", PARAMETERS, reason)
    parts = []
    for name in names:
        less = minus(behaviour_of(cells, name, "follow"), whole)
        parts.append(f"{_called(name)} {_outcome(cells, name)}, against all {said(mean(less), nested(less))}")
    enough = [
        _called(name)
        for name in names
        if sign(nested(minus(behaviour_of(cells, name, "follow"), whole))) >= 0
    ]
    plain = (
        f"no loss against all is visible with {', '.join(enough)}" if enough else "no part alone does as well"
    )
    answer = f"At equal steps {plain}. All: {_outcome(cells, _REF)}; {'; '.join(parts)}."
    if not gates:
        answer += " GDN gates only: not measurable on this model, it has no Gated DeltaNet layers."
    less = minus(behaviour_of(cells, names[0], "follow"), whole)
    return Finding(
        "b",
        PARAMETERS,
        answer,
        f"follow-rate of {_called(names[0])}, less that of all parameters",
        mean(less),
        nested(less),
        count(less),
        _seeds(cells),
    )


def _called(name: str) -> str:
    return {
        "queries": "queries alone",
        "queries_fast": "queries alone at 5 times the rate",
        "gates": "GDN gates alone",
        "mlp": "MLP alone",
        "attention": "attention layers alone",
        "all": "25 % general",
        "replay_0": "none",
        "replay_10": "10 %",
        "replay_50": "50 %",
        "agent_log": "25 % of an agent's log",
    }.get(name, name)


def _outcome(cells: Sequence[Cell], name: str) -> str:
    follow, leak = behaviour_of(cells, name, "follow"), behaviour_of(cells, name, *_LEAK)
    return f"follow {mean(follow):.2f}, leak {mean(leak):.2f}, NLL {_nll_ratio(cells, name):.3f} of the base"


def _nll_ratio(cells: Sequence[Cell], name: str) -> float:
    return mean(behaviour_of(cells, name, "nll")) / mean(behaviour_of(cells, "base", "nll"))


def flatness(cells: Sequence[Cell]) -> Finding:
    """Compare the rise of the loss under noise, with the AdamW whose training loss is nearest."""
    rival = min(
        (name for name in ("adamw", "adamw_tenth") if _has(cells, name)),
        key=lambda name: abs(mean(_losses(cells, name)) - mean(_losses(cells, _REF))),
    )
    scale = noise_scale(of_recipe(cells, _REF)[0])
    less = minus(_rises(cells, _REF, scale), _rises(cells, rival, scale))
    interval = nested(less)
    plain = {-1: "Flatter: yes", 0: "Flatter: no difference visible", 1: "Flatter: no, steeper"}[
        sign(interval)
    ]
    wider = minus(behaviour_of(cells, _REF, "paraphrase"), behaviour_of(cells, rival, "paraphrase"))
    ours, theirs = mean(_losses(cells, _REF)), mean(_losses(cells, rival))
    answer = (
        f"{plain}. Noise of {scale} of each tensor's RMS raises the loss on what was learned by"
        f" {mean(_rises(cells, _REF, scale)):.3f} after Apollo and {mean(_rises(cells, rival, scale)):.3f}"
        f" nats a token after AdamW ({rival}), from {ours:.2f} and {theirs:.2f}: equal steps,"
        f" {'nearly equal' if abs(ours - theirs) < 0.1 * ours else 'not equal'} loss. Broader:"
        f" {_broader(sign(nested(wider)))}, in a second unseen wording"
        f" {mean(behaviour_of(cells, _REF, 'paraphrase')):.2f} against"
        f" {mean(behaviour_of(cells, rival, 'paraphrase')):.2f} ({said(mean(wider), nested(wider))})."
    )
    measured = f"rise of the loss under noise of {scale}, Apollo less AdamW, nats a token"
    return Finding("c", FLATNESS, answer, measured, mean(less), interval, count(less), _seeds(cells))


def noise_scale(cell: Cell) -> str:
    """Return the noise that the answer is about: the middle one."""
    scales = sorted(cell["noise"]["rises"], key=float)
    return str(scales[len(scales) // 2])


def _broader(side: int) -> str:
    return {1: "yes", 0: "no difference visible", -1: "no, narrower"}[side]


def _losses(cells: Sequence[Cell], name: str) -> Groups:
    return [list(cell["noise"]["losses"]) for cell in of_recipe(cells, name)]


def _rises(cells: Sequence[Cell], name: str, scale: str) -> Groups:
    return [
        [rise for draw in cell["noise"]["rises"][scale] for rise in draw] for cell in of_recipe(cells, name)
    ]


def sparsity(cells: Sequence[Cell]) -> Finding:
    """Compare the share of the top 1 % of elements with that of a normal distribution."""
    tops = {name: _of_tensors(cells, name, "top") for name in (_REF, "adamw")}
    ranks = {name: _of_tensors(cells, name, "rank") for name in tops}
    changed = {name: _of_tensors(cells, name, "changed") for name in tops}
    value, interval = mean(tops[_REF]), nested(tops[_REF])
    apart = minus(tops[_REF], tops["adamw"])
    plain = "Yes" if interval[0] > 0.5 else "No"
    answer = (
        f"{plain}: the largest 1 % of elements hold {value:.1%} of an Apollo update's squared norm"
        f" (all of it if it were 1 % sparse, {GAUSSIAN:.1%} if it were normally distributed), AdamW's"
        f" {mean(tops['adamw']):.1%} ({_points(apart)} points)."
        f" Effective rank {mean(ranks[_REF]):.0%} of the full one, AdamW {mean(ranks['adamw']):.0%};"
        f" bf16 values that really changed {mean(changed[_REF]):.1%}, AdamW {mean(changed['adamw']):.1%}."
    )
    measured = "share of an update's squared norm in its largest 1 % of elements, mean over tensors"
    return Finding("d", SPARSITY, answer, measured, value, interval, count(tops[_REF]), _seeds(cells))


def _of_tensors(cells: Sequence[Cell], name: str, what: str) -> Groups:
    return [
        [tensor[what] for tensor in cell["update"] if tensor[what] is not None]
        for cell in of_recipe(cells, name)
    ]


def live(found: Mapping[str, Any] | str, seed: int) -> Finding | Unmeasured:
    """Say whether the bytes are those of a training without a server, and what a reader saw of the writes."""
    if isinstance(found, str):
        return Unmeasured("e", LIVE, found)
    equal = found["equal_tensors"] == found["tensors"]
    answers = Counter[str]()
    for step in found["counts"].values():
        answers.update(step["answer"])
    total = sum(answers.values())
    share = answers["neither"] / total if total else 0.0
    far = nested([found["torn"]]) if found["torn"] else (0.0, 0.0)
    answer = (
        f"{'No' if equal else 'Yes'}: after {found['steps']} steps, every second one with a client reading"
        f" while it was written, {found['equal_tensors']} of {found['tensors']} live tensors equal, bit for"
        " bit, those of the same training without a server. With a quarter, half and three quarters of a"
        f" step's tensors written, {answers['neither']} of {total} whole answers were neither the old"
        f" version's nor the new one's ({answers['before']} the old, {answers['after']} the new,"
        f" {answers['same']} both); the log-probabilities of such a mixture lie"
        f" {fmean(found['torn']) if found['torn'] else 0:.2f} [{far[0]:.2f}, {far[1]:.2f}] of a step's whole"
        f" effect off the nearer version. At rest {found['at_rest_differ']} of {found['at_rest']} reads"
        " differed when asked again."
    )
    measured = "share of answers that a half-written step gives and neither version does"
    interval = of_share(share, total) if total else (0.0, 1.0)
    return Finding("e", LIVE, answer, measured, share, interval, total, (seed,))


def replayed(cells: Sequence[Cell]) -> Finding:
    """Compare shares of general replay, and what it is made of, at equal steps."""
    names = [n for n in ("replay_0", "replay_10", _REF, "replay_50", "agent_log") if _has(cells, n)]
    more = minus(behaviour_of(cells, "replay_0", *_LEAK), behaviour_of(cells, _REF, *_LEAK))
    drift = minus(behaviour_of(cells, "replay_0", "nll"), behaviour_of(cells, _REF, "nll"))
    facts = minus(behaviour_of(cells, "replay_0", "facts"), behaviour_of(cells, _REF, "facts"))
    logs = minus(behaviour_of(cells, "agent_log", *_LEAK), behaviour_of(cells, _REF, *_LEAK))
    logs_nll = minus(behaviour_of(cells, "agent_log", "nll"), behaviour_of(cells, _REF, "nll"))
    effects = {"leak": more, "general NLL": drift, "facts": facts}
    found = [name for name, groups in effects.items() if sign(nested(groups))]
    outcomes = "; ".join(
        f"{_called(n)}: {_outcome(cells, n)}, facts {mean(behaviour_of(cells, n, 'facts')):.2f}"
        for n in names
    )
    answer = (
        f"Without replay, against 25 %: leak {said(mean(more), nested(more))}, general NLL"
        f" {said(mean(drift), nested(drift))}, facts {said(mean(facts), nested(facts))}; told apart from"
        f" zero: {', '.join(found) or 'none of them'}. An agent's log in place of general prompts: leak"
        f" {said(mean(logs), nested(logs))}, NLL {said(mean(logs_nll), nested(logs_nll))}. {outcomes}."
    )
    return Finding(
        "f",
        REPLAY,
        answer,
        "leak without replay, less that with 25 %",
        mean(more),
        nested(more),
        count(more),
        _seeds(cells),
    )


def _has(cells: Sequence[Cell], name: str) -> bool:
    return any(cell["recipe"] == name for cell in cells)


def _seeds(cells: Sequence[Cell]) -> tuple[int, ...]:
    return tuple(sorted({int(cell["seed"]) for cell in of_recipe(cells, _REF)}))
