"""What changes inside when a model learns to heed, and which parts of the recipe matter: six claims.

Recipes that differ in one thing are trained on the same corrections; everything is measured right after each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from learner.experiments.course import corrections_of
from learner.experiments.directions import LOWERCASE, Direction
from learner.experiments.intervals import Interval
from learner.experiments.mechanism import conclusions, pictures
from learner.experiments.mechanism.attention import Read, items_of, mass, reads_of
from learner.experiments.mechanism.behaviour import Sizes, behaviour, log_turns
from learner.experiments.mechanism.finding import Cell, Finding, Unmeasured, behaviour_of, mean, nested_share
from learner.experiments.mechanism.live import measure
from learner.experiments.mechanism.noise import rises
from learner.experiments.mechanism.recipes import (
    ADAMW,
    CONTROL,
    REFERENCE,
    Recipe,
    recipes_for,
)
from learner.experiments.mechanism.training import Material, Trained, train
from learner.experiments.mechanism.update import layers_of, numbers_of
from learner.experiments.progress import Progress
from learner.experiments.report import Report, Table
from learner.experiments.scoring import answers_of
from learner.experiments.setting import Setting
from learner.tokens import prompt_of
from policies.config import TrainingConfig
from policies.errors import Unreachable, UnsupportedModel

QUESTION = "What changes inside when a model learns to heed, and which parts of the recipe matter?"
PICTURES = {
    "attention": pictures.attention,
    "recipes": pictures.recipes,
    "update": pictures.update,
    "noise": pictures.noise,
    "live": pictures.live,
}
DIRECTION = LOWERCASE
_CORRECTIONS = 10
_PROMPT = 1024
_LIVE = 2.0
"""The live part takes about as long as so many recipes."""
_METHOD = (
    "One direction (lowercase), ten corrections a seed, no rehearsal: every recipe has the same corrections"
    " and twins in the same batches, and as many steps; what differs is named by the recipe.",
    "Attention: softmax weights of the whole prompt and the first 16 tokens of the right answer, the same"
    " text for every model, averaged over heads and the positions that write the answer; held-out questions"
    " under an unseen wording. The control is trained on the same answers, with the direction taken out.",
    "Follow-rate, paraphrase: two unseen wordings, held-out questions, greedy; leak: the direction shows in"
    " answers to prompts with none or an unrelated one. Facts and general NLL are those of the probes.",
    "Flatness: the same normal noise in all trained tensors, relative to the base's RMS in each; loss on the"
    " corrected answers. AdamW is Apollo without projection and limiter: plain Adam, no weight decay.",
    "Update: trained less base with the remainders of rounding; effective rank is exp of the entropy of"
    " the singular values (Roy and Vetterli 2007), in some layers.",
    "Live: the reference recipe twice, without a server and into one; every second step is written while a"
    " client asks without a rest, the others in four parts, and between them everything is asked at rest."
    " A pass is the log-probabilities of a prompt, one forward pass. What the first kind sees depends on the"
    " moment: it is told while the experiment runs, and is no figure of it.",
    "Replay: general rows on top of the same corrections. The log is other questions to the agent, the"
    " general pool unrelated prompts; both are answered by the base.",
    "Intervals: 95 %, bootstrap over seeds and, within each, over items; comparisons are paired by item.",
)
_LIMITS = (
    "One direction: other directions may be learned elsewhere in the model.",
    "Attention says where a model looks, not what it does with it.",
    "Parameter sets are compared at one learning rate and equal steps, not each at its best.",
    "One client on a server on the CPU; how often a read falls into a write is not counted.",
)


@dataclass(frozen=True)
class Plan:
    """How large a run is."""

    sizes: Sizes
    training: TrainingConfig
    attended: int
    logged: int
    ranked_layers: int
    scales: tuple[float, ...]
    draws: int
    live_prompts: int
    live_steps: int


def plan_of(setting: Setting) -> Plan:
    """Return the sizes of a quick or a full run."""
    training = setting.training
    if setting.quick:
        brief = {"uses_per_example": 2, "max_decision_tokens": 16, "max_replay_tokens": 12}
        return Plan(
            Sizes(prompts=8, facts=8, texts=3, tokens=16),
            training.model_copy(update=brief),
            attended=8,
            logged=12,
            ranked_layers=3,
            scales=(0.02, 0.05),
            draws=2,
            live_prompts=3,
            live_steps=4,
        )
    return Plan(
        Sizes(prompts=40, facts=60, texts=20, tokens=40),
        training,
        attended=40,
        logged=48,
        ranked_layers=8,
        scales=(0.01, 0.02, 0.05),
        draws=4,
        live_prompts=4,
        live_steps=10,
    )


def run(setting: Setting) -> Report:
    """Train every recipe, measure, and answer the six parts."""
    plan = plan_of(setting)
    wanted = recipes_for(setting.models.model, setting.quick)
    progress = Progress(setting.tell, 1 + len(wanted) * len(setting.seeds) + _LIVE)
    reads = _reads(setting, DIRECTION, plan.attended)
    base = _base(setting, plan, reads)
    materials = {seed: _material(setting, plan, seed) for seed in setting.seeds}
    progress.done("the base is measured, its answers are corrected")
    cells = [base, *_cells(setting, plan, wanted, materials, reads, progress)]
    found = _live(setting, plan, materials[setting.seeds[0]])
    progress.done("the same training, into a model that serves", _LIVE)
    return report_of(setting, {"cells": cells, "base": base, "live": found})


def findings_of(data: dict[str, Any]) -> list[Finding | Unmeasured]:
    """Answer the six parts from `cells`, `base` and `live`. Parameters that the model lacks have no cell."""
    cells = data["cells"]
    return [
        conclusions.attention(cells, data["base"]),
        conclusions.parameters(cells, any(cell["recipe"] == "gates" for cell in cells)),
        conclusions.flatness(cells),
        conclusions.sparsity(cells),
        conclusions.live(data["live"], cells[1]["seed"]),
        conclusions.replayed(cells),
    ]


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return the figure of the first part that could be measured."""
    first = _first(findings_of(data))
    return first.value, first.interval, first.n


def _first(findings: Sequence[Finding | Unmeasured]) -> Finding:
    return next(one for one in findings if isinstance(one, Finding))


def _reads(setting: Setting, direction: Direction, count: int) -> list[Read]:
    models = setting.models
    items = items_of(direction, count)
    plain = [tuple(m for m in item.messages) for item in items]
    answers = answers_of(models.base, models.tokenizer, plain, 32)
    return reads_of(models.tokenizer, items, answers)


def _material(setting: Setting, plan: Plan, seed: int) -> Material:
    """Return the corrections of a seed and what can be replayed beside them."""
    models = setting.models
    corrections = corrections_of(models, [DIRECTION], _CORRECTIONS, seed)
    log = log_turns(models.base, models.tokenizer, plan.training.max_replay_tokens, plan.logged)
    return Material(tuple(corrections), {"general": tuple(setting.pool), "log": tuple(log)}, seed)


def _base(setting: Setting, plan: Plan, reads: Sequence[Read]) -> Cell:
    models = setting.models
    return {
        "recipe": "base",
        "seed": -1,
        "behaviour": behaviour(models.base, models.tokenizer, DIRECTION, plan.sizes),
        "attention": mass(models.base, reads),
    }


def _cells(
    setting: Setting,
    plan: Plan,
    wanted: Sequence[Recipe],
    materials: dict[int, Material],
    reads: Sequence[Read],
    progress: Progress,
) -> list[Cell]:
    cells: list[Cell] = []
    for seed, material in materials.items():
        for number, recipe in enumerate(wanted, 1):
            trained = train(setting.models, recipe, material, plan.training)
            cells.append(
                {"recipe": recipe.name, "seed": seed} | _measured(setting, plan, recipe, trained, reads)
            )
            progress.done(f"seed {seed}, recipe {number} of {len(wanted)}: {recipe.name}")
    return cells


def _measured(
    setting: Setting, plan: Plan, recipe: Recipe, trained: Trained, reads: Sequence[Read]
) -> dict[str, Any]:
    """Return what the recipe is trained for: behaviour of all but the control, the inside of a few."""
    models, optimizers = setting.models, (REFERENCE, ADAMW, "adamw_tenth")
    found: dict[str, Any] = {"losses": list(trained.losses)}
    if recipe.name != CONTROL:
        found["behaviour"] = behaviour(models.model, models.tokenizer, DIRECTION, plan.sizes)
    if recipe.name in (REFERENCE, CONTROL):
        found["attention"] = mass(models.model, reads)
    if recipe.name in optimizers:
        found |= _inside(setting, plan, trained)
    return found


def _inside(setting: Setting, plan: Plan, trained: Trained) -> dict[str, Any]:
    models, trainer = setting.models, trained.trainer
    rows = trained.corrected()
    layers = layers_of(int(models.model.config.num_hidden_layers), plan.ranked_layers)
    base = dict(models.base.named_parameters())
    return {
        "noise": rises(models.model, models.base, rows, plan.scales, plan.draws),
        "update": numbers_of(trained.updates(), trainer.parameters, base, layers),
    }


def _live(setting: Setting, plan: Plan, material: Material) -> dict[str, Any] | str:
    """Return what the live part found, or why it cannot be measured here."""
    items = items_of(DIRECTION, plan.live_prompts)
    prompts = [prompt_of(setting.models.tokenizer, item.messages, _PROMPT).ids for item in items]
    try:
        return measure(setting, material, plan.training, prompts, plan.live_steps)
    except (Unreachable, UnsupportedModel) as error:
        return f"no server with live weights: {error}"


def report_of(setting: Setting, data: dict[str, Any]) -> Report:
    """Return the report of `cells`, `base` and `live`."""
    findings = findings_of(data)
    first = _first(findings)
    return setting.report(
        name="mechanisms",
        question=QUESTION,
        answer=" ".join(f"({one.part}) {_answer(one)}" for one in findings),
        measured=f"({first.part}) {first.measured}",
        value=first.value,
        interval=first.interval,
        n=first.n,
        method=_METHOD,
        limits=_LIMITS,
        tables=(_parts(findings), _outcomes(data["cells"])),
        data=data | {"parts": [asdict(one) for one in findings]},
    )


def _answer(one: Finding | Unmeasured) -> str:
    return one.answer if isinstance(one, Finding) else f"{one.question} Not measurable here: {one.reason}."


def _parts(findings: Sequence[Finding | Unmeasured]) -> Table:
    rows = [
        (f.part, f.question, f.measured, f.value, *f.interval, f.n, len(f.seeds))
        if isinstance(f, Finding)
        else (f.part, f.question, "not measurable here", None, None, None, 0, 0)
        for f in findings
    ]
    columns = ("part", "question", "figure", "value", "low", "high", "n", "seeds")
    return Table(title="The six parts", columns=columns, rows=tuple(rows))


def _outcomes(cells: Sequence[Cell]) -> Table:
    names = dict.fromkeys(cell["recipe"] for cell in cells if "behaviour" in cell)
    kinds = (("follow",), ("paraphrase",), ("leak", "leak_other"), ("facts",), ("nll",))
    rows = []
    for name in names:
        groups = [behaviour_of(cells, name, *kind) for kind in kinds]
        rows.append((name, *(mean(found) for found in groups), *nested_share(groups[0])))
    columns = ("recipe", "follow", "paraphrase", "leak", "facts", "NLL", "follow, low", "high")
    return Table(title="Every recipe", columns=columns, rows=tuple(rows))
