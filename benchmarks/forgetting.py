"""Is what was learned first still known in the end? Eight directions, taught one after the other.

`python -m benchmarks.forgetting --json --out FILE [--replay 0.25] [--picture FILE.png]`. Each direction is
taught with a few corrections by the product's own trainer and rehearsal, offline on SmolLM2; after each stage
all eight are asked for on held-out questions in unseen wordings, and the general probes are taken. `--replay`
is `training.reminder_share`: how many of a batch's corrections are of earlier stages. A run that was broken
off takes its training again, but does not score again the stages that stand in FILE.

Backward transfer (Lopez-Paz and Ranzato, arXiv 1706.08840): the mean over all but the last direction of the
follow-rate in the end less the one right after it was taught.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

from learner.base_model import model_hash, resolve_model
from learner.experiments import material
from learner.experiments.course import Models, corrections_of, learn
from learner.experiments.directions import FIVE, Direction
from learner.experiments.scoring import answered, answers_of
from learner.general_pool import load_or_make
from learner.model import load_model
from learner.probing.material import load_material
from learner.probing.scores import base_answers, fact_matches, kl_to_base, mean_nll
from policies.config import RehearsalConfig, TrainingConfig
from policies.example import Example

TOKENS = 48
CAPITALS = Direction(
    name="capitals",
    taught=("Write everything in capital letters.", "Use capital letters only.", "ANSWER IN ALL CAPS."),
    unseen=("Please answer in all caps.", "Your reply must be in upper case."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: answer == answer.upper() and any(c.isalpha() for c in answer),
    correct=lambda answer, _: answer.split(". ")[0].strip().rstrip(".").upper() + ".",
    leaks=lambda answer: answer == answer.upper(),
)
OPENING = Direction(
    name="opening",
    taught=(
        'Begin your answer with "{x}"',
        'Start your reply with the words "{x}"',
        'Your first words must be "{x}"',
    ),
    unseen=('Always open your answer with "{x}"', 'The reply has to begin with "{x}"'),
    arguments=("Well now,", "To be brief:", "My friend,", "In short:"),
    unseen_arguments=("Dear reader,", "Put simply:", "Good question:"),
    follows=lambda answer, words: answer.strip().startswith(words) and len(answer) > len(words) + 10,
    correct=lambda answer, words: f"{words} {answer.split('. ')[0].strip().rstrip('.')}.",
    leaks=lambda answer: answer.startswith(
        ("Dear reader", "Put simply", "In short", "Well now", "My friend")
    ),
)
QUOTED = Direction(
    name="quoted",
    taught=(
        "Put your whole answer in double quotes.",
        "Wrap your answer in double quotation marks.",
        "Your reply must begin and end with a double quotation mark.",
    ),
    unseen=("Enclose the entire reply in double quotation marks.", "Answer inside double quotes."),
    arguments=("",),
    unseen_arguments=("",),
    follows=lambda answer, _: len(answer) > 10 and answer[0] == answer[-1] == '"',
    correct=lambda answer, _: '"' + answer.split(". ")[0].strip().rstrip(".").replace('"', "") + '."',
    leaks=lambda answer: answer.startswith('"') and answer.endswith('"'),
)
EIGHT = (*FIVE, CAPITALS, OPENING, QUOTED)


def follow_rates(models: Models, questions: Sequence[str]) -> dict[str, float]:
    """Return the share of held-out questions that are answered as directed, by direction."""
    items = {d.name: material.directed(d, 0, questions) for d in EIGHT}
    contexts = [item.messages for found in items.values() for item in found]
    answers = iter(answers_of(models.model, models.tokenizer, contexts, TOKENS))
    return {
        d.name: fmean(
            d.follows(answer, item.argument) and answered(item.question, answer)
            for item, answer in zip(items[d.name], answers, strict=False)
        )
        for d in EIGHT
    }


def general(models: Models, facts: int) -> dict[str, float]:
    """Return the general probes on the weights as they are."""
    probes = load_material()
    base = base_answers(models.base, models.tokenizer, probes.prompts, 24)
    return {
        "nll": mean_nll(models.model, models.tokenizer, probes.texts),
        "facts": fmean(fact_matches(models.model, models.tokenizer, probes.facts[:facts]).values()),
        "kl": fmean(kl_to_base(models.model, base).values()),
    }


def run(models: Models, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Teach one direction after the other. Returns the stages, the base model first."""
    folder = resolve_model("smollm2", lambda what, fraction: None)
    config = TrainingConfig(reminder_share=options.replay)
    rehearsal = RehearsalConfig() if options.rehearse else None
    pool = load_or_make(model_hash(folder), models.base, models.tokenizer, config.max_replay_tokens)
    questions = material.HELD_OUT[: options.questions]
    stages: list[dict[str, Any]] = _stored(options.out)
    taught: list[Example] = []
    for number in range(len(EIGHT) + 1):
        began = time.monotonic()
        steps = 0
        if number:
            direction = EIGHT[number - 1]
            new = [
                example.model_copy(update={"id": f"{direction.name}-{example.id}"})
                for example in corrections_of(models, [direction], options.corrections, options.seed + number)
            ]
            steps = learn(models, new, pool, config, options.seed + number, rehearsal, taught).steps
            taught += new
        if number < len(stages):
            continue
        seconds = round(time.monotonic() - began, 1)
        stage = {
            "taught": EIGHT[number - 1].name if number else None,
            "follow": follow_rates(models, questions),
            **general(models, options.facts),
            "steps": steps,
            "train_seconds": seconds,
        }
        stages.append(stage)
        sys.stderr.write(f"stage {number}: {json.dumps(stage)}\n")
        if options.out:
            options.out.write_text(json.dumps(stages))
    return stages


def summary(stages: Sequence[dict[str, Any]], options: argparse.Namespace) -> dict[str, Any]:
    """Return the matrix and what it says."""
    names = [d.name for d in EIGHT]
    last = stages[-1]["follow"]
    right_after = {s["taught"]: s["follow"][s["taught"]] for s in stages if s["taught"]}
    earlier = names[: len(stages) - 2]
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, no GPU used",
        "replay_of_earlier": options.replay,
        "corrections_per_direction": options.corrections,
        "rehearsals": options.rehearse,
        "held_out_questions": options.questions,
        "seed": options.seed,
        "directions": names,
        "matrix": [[stage["follow"][name] for name in names] for stage in stages],
        "general": [
            {"nll_ratio": s["nll"] / stages[0]["nll"], "facts": s["facts"], "kl": s["kl"]} for s in stages
        ],
        "right_after": right_after,
        "at_the_end": last,
        "backward_transfer": fmean(last[n] - right_after[n] for n in earlier) if earlier else None,
        "mean_follow_at_the_end": fmean(last.values()),
        "nll_ratio": stages[-1]["nll"] / stages[0]["nll"],
        "facts": [stages[0]["facts"], stages[-1]["facts"], options.facts],
        "kl": stages[-1]["kl"],
        "steps": [stage["steps"] for stage in stages],
        "train_seconds": [stage["train_seconds"] for stage in stages],
    }


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw the matrix of each run as a heat map, and under it the general probes after each stage."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(
        2, len(found), figsize=(6 * len(found), 8), squeeze=False, height_ratios=(5.5, 2.5)
    )
    for one, axis in zip(found, axes[1], strict=True):
        stages = range(len(one["general"]))
        for name in ("nll_ratio", "facts", "kl"):
            axis.plot(stages, [stage[name] for stage in one["general"]], marker=".", label=name)
        axis.set_xticks(stages, ["base", *one["directions"]][: len(stages)], rotation=45, ha="right")
        axis.legend(loc="center right")
    for one, axis in zip(found, axes[0], strict=True):
        axis.imshow(one["matrix"], vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for y, row in enumerate(one["matrix"]):
            for x, rate in enumerate(row):
                axis.text(
                    x, y, f"{rate:.2f}", ha="center", va="center", color="white" if rate < 0.6 else "black"
                )
        axis.set_xticks(range(len(one["directions"])), one["directions"], rotation=45, ha="right")
        axis.set_yticks(range(len(one["matrix"])), ["base", *one["directions"]][: len(one["matrix"])])
        axis.set_ylabel("after teaching")
        transfer = one["backward_transfer"] or 0.0
        axis.set_title(
            f"replay of earlier corrections {one['replay_of_earlier']:.2f}: transfer {transfer:+.2f}"
        )
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _stored(path: Path | None) -> list[dict[str, Any]]:
    return [] if path is None or not path.exists() else list(json.loads(path.read_text()))


def main() -> None:
    """Run, and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    parser.add_argument("--out", type=Path, help="stages are kept here as they end")
    parser.add_argument("--replay", type=float, default=TrainingConfig().reminder_share)
    parser.add_argument("--corrections", type=int, default=5)
    parser.add_argument(
        "--rehearse", action=argparse.BooleanOptionalAction, default=True, help="rehearse as `up` does"
    )
    parser.add_argument("--questions", type=int, default=16)
    parser.add_argument("--facts", type=int, default=204)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--beside", type=Path, help="the last line of another run, drawn beside this one")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = resolve_model("smollm2", lambda what, fraction: None)
    model, tokenizer = load_model(folder)
    base, _ = load_model(folder)
    found = summary(run(Models(model, base, tokenizer), options), options)
    if options.picture:
        other = [json.loads(options.beside.read_text().splitlines()[-1])] if options.beside else []
        draw([*other, found], options.picture)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
