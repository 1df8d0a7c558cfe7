"""How often does the guard cry for nothing, and how soon does it see a fall?

`python -m benchmarks.guard --json [--checks FILE] [--count 60]`. First the scores of real checks between
which nothing changed: the base model, the items of each check drawn as the learner draws them, the batch size
(and so the rounding in bf16) another each time. FILE keeps them: a run that was broken off goes on where it
ends, and one without FILE makes them anew. From these scores `--resampled` checks are drawn: the items anew,
as the learner does, for each of them one of the scores that it had. They are given to the guard as in a
running system: one after the other, its evidence kept, until it sounds. For the power, a share of the right
answers turns wrong from the first check on; `--allowed` are the falls that the guard is told to allow.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from learner.base_model import resolve_model
from learner.model import load_model
from learner.probing.material import load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import follows
from policies.config import GuardConfig
from policies.guard import judge, noise_floor

FALLS = (0.02, 0.05, 0.10)
MOST = 2000
"""Checks after which a fall counts as not found."""
RUNS = 60

Scores = dict[str, dict[str, float]]


def make_checks(path: Path, count: int) -> tuple[Scores, list[Scores]]:
    """Return the full baseline and `count` checks without a change, made where FILE lacks them."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"checks": []}
    if "baseline" in kept and len(kept["checks"]) >= count:
        return kept["baseline"], kept["checks"][:count]
    folder = resolve_model("smollm2", lambda what, fraction: None)
    model, tokenizer = load_model(folder)
    base, _ = load_model(folder)
    suite = ProbeSuite(model, base, tokenizer, load_material(), follows, 64)
    systems = ["You are a helpful assistant. Answer in one or two short sentences."]
    if "baseline" not in kept:
        kept["baseline"] = suite.run([], systems).scores
    while len(kept["checks"]) < count:
        number = len(kept["checks"])
        run = suite.run([], systems, part=suite.drawn(number), batch_size=(1, 3, 5, 8, 16, 32)[number % 6])
        kept["checks"].append(run.scores)
        kept.setdefault("seconds", []).append(round(run.seconds, 2))
        path.write_text(json.dumps(kept))
        sys.stderr.write(f"check {number + 1} of {count}: {run.seconds:.1f} s\n")
    return kept["baseline"], kept["checks"]


@dataclass(frozen=True)
class Seen:
    """What no-op checks showed: `scores[probe][item]`, all of an item; `sizes`, the items of a check."""

    scores: dict[str, dict[str, list[float]]]
    sizes: dict[str, int]

    @classmethod
    def of(cls, checks: Sequence[Scores]) -> Seen:
        """Gather the scores of many checks by item."""
        found: dict[str, dict[str, list[float]]] = {}
        for check in checks:
            for name, items in check.items():
                for item, score in items.items():
                    found.setdefault(name, {}).setdefault(item, []).append(score)
        return cls(found, {name: len(items) for name, items in checks[0].items()})

    def draw(self, draw: random.Random) -> Scores:
        """Return one check drawn anew."""
        return {
            name: {item: draw.choice(items[item]) for item in draw.sample(list(items), self.sizes[name])}
            for name, items in self.scores.items()
        }


def fallen(scores: Mapping[str, Mapping[str, float]], fall: float, draw: random.Random) -> Scores:
    """Return scores with some right answers turned wrong: the rate falls by `fall` on average."""
    found = {name: dict(items) for name, items in scores.items()}
    for name in ("facts", "choice"):
        right = [item for item, score in found[name].items() if score == 1.0]
        chance = fall * len(found[name]) / max(1, len(right))
        for item in right:
            found[name][item] = float(draw.random() >= chance)
    return found


def false_alarms(baseline: Scores, checks: Sequence[Scores], config: GuardConfig, count: int) -> int:
    """Return how often the guard sounded in `count` resampled checks; it begins anew after each alarm."""
    draw, floor = random.Random(0), noise_floor(list(checks[: config.noise_checks]), baseline)
    seen = Seen.of(checks)
    alarms, detectors = 0, None
    for _ in range(count):
        judged = judge(seen.draw(draw), baseline, {}, config, detectors, floor=floor)
        alarms += judged.breach
        detectors = None if judged.breach else judged.detectors
    return alarms


def checks_to_find(
    baseline: Scores, checks: Sequence[Scores], config: GuardConfig, fall: float, seed: int
) -> int | None:
    """Return after how many checks a planted fall is found, None where it is not."""
    draw, floor = random.Random(seed), noise_floor(list(checks[: config.noise_checks]), baseline)
    seen, detectors = Seen.of(checks), None
    for number in range(1, MOST + 1):
        scores = fallen(seen.draw(draw), fall, draw)
        judged = judge(scores, baseline, {}, config, detectors, floor=floor)
        if judged.breach:
            return number
        detectors = judged.detectors
    return None


def power(baseline: Scores, checks: Sequence[Scores], config: GuardConfig) -> dict[str, Any]:
    """Return, for each planted fall, the median number of checks and the share found in `MOST`."""
    found: dict[str, Any] = {}
    for fall in FALLS:
        numbers = [checks_to_find(baseline, checks, config, fall, seed) for seed in range(RUNS)]
        seen = [number for number in numbers if number is not None]
        found[f"{fall * 100:g}_points"] = {
            "checks_median": median(seen) if len(seen) > RUNS / 2 else None,
            "found": len(seen) / RUNS,
            "runs": RUNS,
        }
    return found


def main() -> None:
    """Make what is missing, resample, and print one JSON object as the last line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    parser.add_argument("--checks", type=Path, help="keep the scores in this file, and go on from it")
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--resampled", type=int, default=20_000)
    parser.add_argument("--allowed", type=float, nargs="+", default=[0.005, 0.02, GuardConfig().facts_drop])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        baseline, checks = make_checks(options.checks or Path(folder) / "checks.json", options.count)
    tolerances = {
        f"{allowed:g}": power(baseline, checks, GuardConfig(facts_drop=allowed))
        for allowed in options.allowed
    }
    strict = GuardConfig(facts_drop=min(options.allowed))
    alarms = {
        name: false_alarms(baseline, checks, config, options.resampled)
        for name, config in (("default", GuardConfig()), ("strictest", strict))
    }
    print(
        json.dumps(
            {
                "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, no GPU used",
                "no_op_checks": len(checks),
                "resampled_checks": options.resampled,
                "false_alarms_per_1000": 1000 * alarms["default"] / options.resampled,
                "false_alarms_per_1000_strictest": 1000 * alarms["strictest"] / options.resampled,
                "noise_floor": noise_floor(list(checks), baseline),
                "checks_to_find_a_fall_by_allowance": tolerances,
            }
        )
    )


if __name__ == "__main__":
    main()
