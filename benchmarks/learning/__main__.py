"""How much do a few corrections change, how lastingly, and at what price?

`python -m benchmarks.learning [--quick] [--seeds 5] [--cells FILE] [--only PATTERN] [--model MODEL]`. A model
learns, offline, with the product's own trainer, batches and rehearsal. Scores are of greedy answers to
held-out questions, under wordings and arguments that no correction had. An answer that follows but does not
answer does not count.

- `follow_rate`, `paraphrase`: two unseen wordings; `interval`: 95 %, over seeds;
- `leak`, `leak_other`, `leak_no_system`: a direction shows in answers to prompts without one, with an
  unrelated one, without a system turn;
- `quality`: of facts that the base knows, the share that is still right under the direction;
- `facts_delta`, `nll_ratio`: without directions, against the base; `train_seconds`: rehearsal included;
- `moved`: how far each kind of parameter moved, as a share of its norm; `n`: of how many each figure is;
- `trade_off`: heedloop at other learning rates, what is gained beside what is forgotten.

A run that is broken off goes on behind the last cell in FILE; `--only '*/five_directions/30/*'` measures
those cells (recipe/taught/corrections/seed) alone. The last line is one JSON object of all that FILE knows.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

import torch

from benchmarks.learning.cells import TAUGHT, Cell, Results, cells_of
from benchmarks.learning.recipes import learned_by
from benchmarks.learning.summary import summary
from learner.base_model import model_hash, resolve_model
from learner.experiments import scoring
from learner.experiments.course import Models, corrections_of
from learner.experiments.hybrid.study import moved
from learner.general_pool import load_or_make
from learner.model import compute_dtype, load_model
from learner.probing.material import load_material
from policies.config import RehearsalConfig, TrainingConfig

DEFAULT_CELLS = Path("build/learning-cells.jsonl")


def main() -> None:
    """Measure what is not in the file of cells yet, and print what is."""
    options = _options()
    torch.set_num_threads(1)
    results = Results(options.cells, _measured(options.model))
    seeds = range(2 if options.quick else options.seeds)
    missing = [
        cell
        for cell in cells_of(seeds, quick=options.quick, baselines=options.baselines and not options.quick)
        if cell.name not in results.known and fnmatch(cell.name, options.only)
    ]
    sys.stderr.write(f"{len(missing)} cells to measure, {len(results.known)} are in {options.cells}\n")
    if missing:
        _measure(options.model, missing, results)
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, one thread"
    print(json.dumps({"machine": machine, "model": options.model, **summary(results)}))


def _measured(model: str) -> str:
    """Return what a result is of: the model, the type that it computes in, and the settings."""
    settings = TrainingConfig().model_dump_json() + RehearsalConfig().model_dump_json()
    digest = hashlib.blake2b(settings.encode(), digest_size=4).hexdigest()
    return f"{model} in {compute_dtype()}, settings {digest}"


def _measure(model: str, missing: list[Cell], results: Results) -> None:
    folder = resolve_model(model, lambda what, fraction: None)
    base, tokenizer = load_model(folder)
    models = Models(load_model(folder)[0], base, tokenizer)
    pool = load_or_make(model_hash(folder), base, tokenizer, TrainingConfig().max_replay_tokens)
    scorer = scoring.Scorer(base, tokenizer, load_material().facts)
    for number, cell in enumerate(missing, 1):
        began = time.monotonic()
        models.reset()
        directions = TAUGHT[cell.taught]
        corrections = corrections_of(models, directions, cell.corrections, cell.seed)
        learned = learned_by(cell.recipe, models, directions, corrections, pool, cell.seed)
        found = scorer.score(models.model, directions, learned.shots, learned.shots_of)
        results.add(
            cell,
            {
                "train_seconds": learned.seconds,
                "steps": learned.steps,
                "rehearsals": learned.rehearsals,
                "moved": moved(models),
                **found,
            },
        )
        sys.stderr.write(
            f"{number}/{len(missing)} {cell.name}: follow {found['follow']}, leak {found['leak']},"
            f" {learned.seconds:.0f} s of training, {time.monotonic() - began:.0f} s in all\n"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line is JSON (it always is)")
    parser.add_argument("--quick", action="store_true", help="two seeds of five cells, no baselines")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--model", default="smollm2", help="`smollm2` or a checkpoint folder")
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--cells", type=Path, default=DEFAULT_CELLS, help="results that are there already")
    parser.add_argument("--only", default="*", metavar="PATTERN", help="cells to measure, as in a shell")
    return parser.parse_args()


if __name__ == "__main__":
    main()
