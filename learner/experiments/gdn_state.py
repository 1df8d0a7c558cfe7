"""Does the compressed state of Gated DeltaNet layers become direction-shaped when a direction is learnt?

The same held-out questions are read under the direction and under others, before training, after training on
the direction, and after as many steps on the same answers to plain questions, which is the control.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from learner.experiments.course import Models
from learner.experiments.hybrid import making
from learner.experiments.hybrid.findings import answer_of, answering
from learner.experiments.hybrid.ground import Ground, ground_of
from learner.experiments.hybrid.pictures import draw_probes, draw_shifts
from learner.experiments.hybrid.rule import short_text
from learner.experiments.hybrid.states import Place, recurrent_layers
from learner.experiments.hybrid.study import Behaviour, Figures, Seen, Study, moved, train
from learner.experiments.hybrid.tables import tables_of
from learner.experiments.intervals import Interval
from learner.experiments.progress import Progress
from learner.experiments.report import Draw, Report
from learner.experiments.setting import Setting
from learner.model import load_model

QUESTION = "Does the recurrent state of GDN layers become direction-shaped?"
PICTURES: Mapping[str, Draw] = {"shifts": draw_shifts, "probes": draw_probes}
_CORRECTIONS, _QUICK_CORRECTIONS = 32, 16
_QUESTIONS, _QUICK_QUESTIONS = 48, 24


def figure_of(data: dict[str, Any]) -> tuple[float, Interval, int]:
    """Return how the shift of recurrent states grew."""
    return answering(data)


def run(setting: Setting) -> Report:
    """Train on a direction and on a control, and compare what the layers carry."""
    folder, toy = _hybrid(setting)
    setting = replace(setting, model=str(folder))
    base, tokenizer = load_model(folder, torch.float32)
    models = Models(load_model(folder, torch.float32)[0], base, tokenizer)
    ground = ground_of(folder)
    with short_text():
        data = _measured(setting, ground, models)
    value, interval, items = figure_of(data)
    report = setting.report(
        name="gdn-state",
        question=QUESTION,
        answer=answer_of(data),
        measured="growth, by training on the direction, of the shift that recurrent states have in common",
        value=value,
        interval=interval,
        n=items,
        method=_method(data),
        limits=_limits(toy, making.world_of(folder) is not None),
        toy=toy,
        tables=tables_of(data),
        data=data,
    )
    return report.model_copy(update={"model": folder.name})


def _hybrid(setting: Setting) -> tuple[Path, bool]:
    """Return the user's model if it has GDN layers; else the hybrid made here; else a toy, made now."""
    config = json.loads((setting.folder / "config.json").read_text())
    kinds = (config.get("text_config") or config).get("layer_types") or ()
    if "linear_attention" in kinds:
        return setting.folder, making.is_toy(setting.folder)
    if making.made(making.hybrid_folder()):
        return making.hybrid_folder(), False
    setting.tell(
        f"{setting.model} has no GDN layer, and no hybrid is made yet (`experiment make-hybrid`):"
        " a toy is made now"
    )
    return making.make(making.TOY, making.hybrid_folder(making.TOY), setting.tell), True


def _measured(setting: Setting, ground: Ground, models: Models) -> dict[str, Any]:
    rate = ground.rate or setting.training.learning_rate
    config = setting.training.model_copy(update={"learning_rate": rate})
    # a control has no twins, whose place in a batch its rows take: more uses make as many steps
    uses = {"direction": config.uses_per_example, "plain": config.uses_per_example * 3 // 2}
    count = _QUICK_CORRECTIONS if setting.quick else _CORRECTIONS
    directions = ground.directions[: 1 if setting.quick else 2]
    pool, found = ground.pool(models), {}
    progress = Progress(setting.tell, 2 * len(directions) * len(setting.seeds))
    for direction in directions:
        study = Study(ground, direction, models, _QUICK_QUESTIONS if setting.quick else _QUESTIONS)
        runs: dict[str, list[dict[str, Any]]] = {"direction": [], "plain": []}
        for seed in setting.seeds:
            taught = ground.corrections(models, direction, count, seed)
            control = ground.habits(models, direction, count, seed)
            for kind, examples in (("direction", taught), ("plain", control)):
                trained = config.model_copy(update={"uses_per_example": uses[kind]})
                steps = train(models, examples, pool, trained, seed)
                runs[kind].append(_record(study, models) | {"steps": steps, "moved": moved(models)})
                progress.done(f"{direction.name}, seed {seed}, {kind}: {_told(runs[kind][-1])}")
        models.reset()
        found[direction.name] = {"before": _record(study, models, study.base), **runs}
    return {
        "directions": found,
        "recurrent_layers": recurrent_layers(models.base),
        "layers": models.base.config.get_text_config().num_hidden_layers,
        "hidden": models.base.config.get_text_config().hidden_size,
        "corrections": count,
        "learning_rate": rate,
    }


def _record(study: Study, models: Models, seen: Seen | None = None) -> dict[str, Any]:
    behaviour: Behaviour = study.behaviour(models.model)
    figures: dict[Place, Figures] = study.figures(seen or study.seen(models.model))
    places = {f"{kind}/{layer}": asdict(found) for (kind, layer), found in figures.items()}
    return {"behaviour": asdict(behaviour), "places": places}


def _told(record: dict[str, Any]) -> str:
    behaviour = record["behaviour"]
    return (
        f"{record['steps']} steps, follows {fmean(behaviour['follows']):.2f},"
        f" leaks {fmean(behaviour['leaks']):.2f}"
    )


def _method(data: dict[str, Any]) -> tuple[str, ...]:
    return (
        f"A hybrid of {data['layers']} layers ({len(data['recurrent_layers'])} of them Gated DeltaNet),"
        f" hidden size {data['hidden']}, is trained by the product's own trainer on {data['corrections']}"
        f" corrections of one direction (Apollo, learning rate {data['learning_rate']:g}); the control takes"
        " as many steps on the same questions and answers without the direction. Both replay others.",
        "States are read just before the answer. Shift: how far a question's state under the direction lies"
        " from its state under another direction, along the way in which those of the other questions"
        " differ (leave-one-out), in units of the spread of the states under other directions.",
        "Probe: ridge regression, penalty by leave-one-out error, fitted to training questions under taught"
        " wordings and one half of the other directions; scored on held-out questions under unseen"
        " wordings and the other half. States wider than 256 are projected at random to 256.",
        "Intervals: bootstrap over runs and questions. p: sign-flip permutation over questions, the larger of"
        " those against before and against the control, corrected after Holm over the layers of a kind.",
    )


def _limits(toy: bool, ours: bool) -> tuple[str, ...]:
    return (
        *(["The model is a toy made in a minute: it shows that the experiment runs."] if toy else []),
        *(
            ["The hybrid was made from scratch in a world of a few people; larger ones may differ."]
            if ours
            else []
        ),
        "Keys and values are those of the last token alone, while a recurrent state holds the whole prompt:"
        " compare the two by what changes in each, not by their sizes.",
    )
