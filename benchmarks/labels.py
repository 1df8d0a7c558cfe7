"""How right labels are, on every labelled set. Prints one JSON object as its last line.

`python -m benchmarks.labels --json [--data DIR] [--plot FILE]`. Next turns are measured across folds by
session and dialogue, never in-sample; a set that is absent is named. The judge is measured where one is
configured (`HEEDLOOP_JUDGE__URL`, `HEEDLOOP_JUDGE__MODEL`). Rates come with n and a 95 % interval (Wilson).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from agent.labellers.embedding import Embedding, is_installed
from benchmarks.label_sets import coding, constraints, eurtad, judge, reactions
from benchmarks.label_sets.constraints import rate
from policies.config import Config
from policies.errors import HeedloopError
from policies.labelling.calibration import Outcome, reliability
from store.settings import load_config

PLOT = Path(__file__).parent.parent / "docs" / "reliability.png"
_SURE = 0.9


def measure(data: Path, config: Config, judge_rows: int) -> dict[str, Any]:
    """Measure everything that is there."""
    found: dict[str, Any] = {"next_turn": {}, "calibration": {}}
    if coding.files(data) and len(eurtad.files(data)) == 2:
        found |= measure_reactions(data, config.labels.label_above)
    else:
        absent = {"coding": coding.files(data), "eurtad": eurtad.files(data)}
        found["next_turn"] = {name: {"absent": True} for name, files in absent.items() if not files}
    found["constraints"] = constraints.measure(data)
    found["judge"] = measure_judge(data, config, judge_rows)
    return found


def measure_reactions(data: Path, above: float) -> dict[str, Any]:
    """Return the figures of next turns and their calibration: first of the labeller that runs by default."""
    words = reactions.predict(data, None)
    if not is_installed():
        return {"next_turn": reactions.figures(words, above), "calibration": calibration(words, above)}
    with Embedding() as embedding:
        meaning = reactions.predict(data, embedding.vector)
    return {
        "next_turn": {
            "reads": "words and sentence vectors",
            **reactions.figures(meaning, above),
            "words_alone": reactions.figures(words, above),
        },
        "calibration": calibration(meaning, above),
    }


def calibration(predictions: Sequence[reactions.Prediction], above: float) -> dict[str, Any]:
    """Return how often labels are right by their confidence."""
    outcomes: list[Outcome] = [(p.probability, p.ignored) for p in predictions if p.is_labelled(above)]
    sure = [right for confidence, right in outcomes if confidence >= _SURE]
    curve = reliability(outcomes)
    gap = sum(abs(b["confidence"] - b["right"]) * b["n"] for b in curve) / max(len(outcomes), 1)
    return {
        **rate("right_at_0.9", sum(sure), len(sure)),
        "expected_calibration_error": round(gap, 4),
        "reliability": [{name: round(value, 4) for name, value in point.items()} for point in curve],
    }


def measure_judge(data: Path, config: Config, rows: int) -> dict[str, Any]:
    """Return the figures of the configured judge, or why there are none."""
    if config.judge.url is None:
        return {"absent": "no judge is configured (judge.url)"}
    try:
        return asyncio.run(judge.measure(data, config.judge, rows))
    except HeedloopError as error:
        return {"absent": str(error)}


def plot(curve: Sequence[dict[str, float]], path: Path) -> None:
    """Draw the reliability curve."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(4.5, 4.5), layout="constrained")
    axes.plot([0.5, 1], [0.5, 1], color="0.7", label="as sure as right")
    axes.plot([p["confidence"] for p in curve], [p["right"] for p in curve], "o-", label="next turn: ignored")
    for point in curve:
        place = (point["confidence"], point["right"])
        axes.annotate(f"n={point['n']:.0f}", place, textcoords="offset points", xytext=(6, -12))
    axes.set(
        xlabel="confidence of the label", ylabel="share that is right", xlim=(0.48, 1.02), ylim=(0, 1.05)
    )
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("HEEDLOOP_DATA", "../shared/data"))
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.add_argument("--plot", type=Path, default=PLOT, help="where the reliability curve goes")
    parser.add_argument(
        "--judge-rows", type=int, default=100, help="rows of each set that the judge is asked"
    )
    asked = parser.parse_args()
    found = measure(asked.data, load_config(), asked.judge_rows)
    if found["calibration"]:
        plot(found["calibration"]["reliability"], asked.plot)
    if not asked.json:
        print(json.dumps(found, indent=2))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
