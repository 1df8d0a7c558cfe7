"""Task vectors, measured. Last line: one JSON object.

`python -m benchmarks.vectors --json` (about an hour; each part is kept in a file, so that an interrupted
run goes on where it was). Three behaviours are trained apart on SmolLM2 from ten corrections each. Then, on
forty held-out questions: follow-rate with each direction, leak without, general NLL, of each alone, of their
sum, of their TIES merge, of each two together, at scales from -1 to 2. Last, one of them on a running system.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmarks.parts import Parts
from benchmarks.vectors import live
from benchmarks.vectors.behaviours import (
    BEHAVIOURS,
    QUESTIONS,
    Behaviour,
    held_out_questions,
    training_questions,
)
from benchmarks.vectors.bench import TOKENS, Bench
from learner.probing.material import load_material
from learner.vectors.algebra import Combination, average
from learner.vectors.statistics import cosine
from learner.vectors.ties import Ties
from policies.errors import ConfigError

SCALES = (-1.0, 0.25, 0.5, 0.75, 1.25, 1.5, 2.0)
KEEP, WIDER = 0.2, 0.5
"""Shares of entries that TIES keeps: that of the paper, and a milder one beside it."""
NAMES = tuple(behaviour.name for behaviour in BEHAVIOURS)


def everything(bench: Bench, parts: Parts, home: Path) -> dict[str, Any]:
    """Measure all parts and put them together."""
    trained = {b.name: parts.get(f"train {b.name}", lambda b=b: bench.make(b)) for b in BEHAVIOURS}
    vectors = {name: bench.library.open(name) for name in NAMES}
    whole = list(vectors.values())
    base = parts.get("base", lambda: bench.measure(None))
    alone = {n: parts.get(f"alone {n}", lambda n=n: bench.measure(vectors[n])) for n in NAMES}
    sums = Combination(tuple((1.0, vector) for vector in whole))
    added = parts.get("added", lambda: bench.measure(sums))
    ties = parts.get("ties, rescaled", lambda: _merged(bench, Ties(whole, KEEP)))
    wider = parts.get(f"ties, keeping {WIDER:g}, rescaled", lambda: _merged(bench, Ties(whole, WIDER)))
    bare = parts.get("ties, lambda 1", lambda: _merged(bench, Ties(whole, KEEP, 1.0)))
    mean = parts.get("average", lambda: bench.measure(average(whole)))
    pairs = {
        f"{a.name}+{b.name}": _pair(bench, parts, base, alone, (a, b)) for a, b in combinations(BEHAVIOURS, 2)
    }
    at_scale = {
        b.name: {
            scale: parts.get(
                f"{b.name} * {scale:g}", lambda b=b, s=scale: bench.measure(vectors[b.name], s, [b])
            )
            for scale in SCALES
        }
        for b in BEHAVIOURS
    }
    on_server = parts.get("live", lambda: live.measure(home, NAMES[0]))
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread; SmolLM2-135M",
        "questions": base["n"],
        "behaviours": {n: _behaviour(n, base, alone[n], added, at_scale[n], trained[n]) for n in NAMES},
        "composed": _composed(base, alone, added),
        "pairs": pairs,
        "ties": _composed(base, alone, ties) | _told(ties, KEEP),
        "ties_wider": _composed(base, alone, wider) | _told(wider, WIDER),
        "ties_lambda_1": _composed(base, alone, bare) | _told(bare, KEEP),
        "average": _composed(base, alone, mean),
        "interference": {n: alone[n]["follow"] for n in NAMES},
        "cosine": {f"{a} {b}": cosine(vectors[a], vectors[b]) for a in NAMES for b in NAMES if a < b},
        "nll_base": base["nll"],
        **on_server,
    }


def _pair(
    bench: Bench,
    parts: Parts,
    base: dict[str, Any],
    alone: dict[str, dict[str, Any]],
    two: tuple[Behaviour, Behaviour],
) -> dict[str, Any]:
    """Return what two behaviours keep in their sum, and in their TIES merge."""
    names = [behaviour.name for behaviour in two]
    vectors = [bench.library.open(name) for name in names]
    title = "+".join(names)
    added = parts.get(title, lambda: bench.measure(Combination(tuple((1.0, v) for v in vectors)), only=two))
    ties = parts.get(f"{title}, ties", lambda: bench.measure(Ties(vectors, KEEP), only=two))
    return {
        "composed": _composed(base, alone, added, names),
        "ties": _composed(base, alone, ties, names),
    }


def _merged(bench: Bench, merged: Ties) -> dict[str, Any]:
    return bench.measure(merged) | {"conflicts": merged.conflicts().share, "lambda": merged.scale}


def _told(measured: dict[str, Any], keep: float) -> dict[str, Any]:
    return {"conflicts": measured["conflicts"], "keep": keep, "lambda": measured["lambda"]}


def _behaviour(
    name: str,
    base: dict[str, Any],
    alone: dict[str, Any],
    added: dict[str, Any],
    scales: dict[float, dict[str, Any]],
    trained: dict[str, Any],
) -> dict[str, Any]:
    found = {scale: measured["follow"][name] for scale, measured in scales.items()}
    return {
        "base": base["follow"][name],
        "trained": alone["follow"][name],
        "added": added["follow"][name],
        "negated": found[-1.0],
        "negated_below_base": found[-1.0] < base["follow"][name],
        "scales": dict(sorted((found | {0.0: base["follow"][name], 1.0: alone["follow"][name]}).items())),
        "leak": {"base": base["leak"][name], "trained": alone["leak"][name], "added": added["leak"][name]},
        "nll_ratio": {
            "trained": alone["nll"] / base["nll"],
            "negated": scales[-1.0]["nll"] / base["nll"],
            "doubled": scales[2.0]["nll"] / base["nll"],
        },
        "steps": trained["steps"],
        "norm": trained["norm"],
    }


def _composed(
    base: dict[str, Any], alone: dict[str, Any], whole: dict[str, Any], names: Sequence[str] = NAMES
) -> dict[str, Any]:
    """Return the share of each behaviour's own gain that is left, the least of them, and the cost."""
    gains = {n: alone[n]["follow"][n] - base["follow"][n] for n in names}
    kept = {n: (whole["follow"][n] - base["follow"][n]) / gains[n] if gains[n] > 0 else None for n in names}
    known = [share for share in kept.values() if share is not None]
    return {
        "retained_min": min(known) if known else None,
        "retained": kept,
        "follow": whole["follow"],
        "leak": whole["leak"],
        "nll_ratio": whole["nll"] / base["nll"],
    }


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw strength against scale."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 4), constrained_layout=True)
    for name, behaviour in found["behaviours"].items():
        scales = {float(scale): rate for scale, rate in behaviour["scales"].items()}
        axis.plot(list(scales), list(scales.values()), marker="o", label=name)
    axis.axvline(0, color="0.8", zorder=0)
    axis.set(
        xlabel="scale of the task vector",
        ylabel=f"follow-rate (n = {found['questions']})",
        ylim=(-0.03, 1.03),
    )
    axis.set_title("SmolLM2-135M, ten corrections a behaviour")
    axis.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    """Measure what is not measured yet; print the object."""
    parser = argparse.ArgumentParser(description=__doc__)
    kept = Path(tempfile.gettempdir()) / f"heedloop-benchmark-vectors-{QUESTIONS}"
    parser.add_argument(
        "--folder", type=Path, default=kept, help="where parts are kept (default: %(default)s)"
    )
    parser.add_argument("--plot", type=Path, help="draw strength against scale into this file")
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    arguments.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    home = arguments.folder / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    texts = [*training_questions(), *held_out_questions(), *load_material().drawn(0).texts]
    try:
        parts = Parts(arguments.folder / "parts.json", [*texts, TOKENS, KEEP, WIDER])
    except ConfigError as error:
        parser.error(str(error))
    found = everything(Bench(home), parts, home)
    if arguments.plot:
        draw(found, arguments.plot)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
