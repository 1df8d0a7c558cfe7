"""Planted attacks, before and after the defences. Last line: one JSON object.

`python -m benchmarks.poisoning --json [--seed N]` (about twenty minutes; each part is kept in a file, so
that an interrupted run goes on). Three honest authors teach the embedded model one direction. Mallory,
beside them, has credentials, too, and is trusted as they are: she floods, contradicts, hides backdoors,
asks to be labelled followed. Success of an attack: the share of 60 held-out prompts that show what it
planted. `before`: every sender is trusted. `after`: nobody is, as with a broker of your own ([trust]
default). The regression guard is left out: what it would undo does not count as a success of the defences.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

LIMIT = 0.05
ATTACKS = ("flood", "contradiction", "backdoor", "hidden_backdoor", "many_names")
LABELLING = ("asked_for", "overruled")


def cells(seed: int) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """Return what can be measured, by name."""
    from benchmarks.poisoning import labelling, training
    from store.logs import configure_logs

    configure_logs("poisoning", "warning")
    found: dict[str, Callable[[Path], dict[str, Any]]] = {
        "clean": partial(training.run, None, defended=True, seed=seed)
    }
    for when, defended in (("before", False), ("after", True)):
        for name in ATTACKS:
            found[f"{name}-{when}"] = partial(training.run, name, defended=defended, seed=seed)
        for name in LABELLING:
            found[f"{name}-{when}"] = partial(getattr(labelling, name), defended=defended)
    return found


def measured(name: str, seed: int, kept: Path) -> dict[str, Any]:
    """Return a cell: from the file, else measured now in a process of its own."""
    known: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    drawn = not name.startswith(LABELLING)  # those of the labels have no chance in them
    cell = f"{name}/{seed}" if drawn else name
    if cell not in known:
        began = time.monotonic()
        sys.stderr.write(f"{cell} ...\n")
        command = [sys.executable, "-m", "benchmarks.poisoning", "--cell", name, "--seed", str(seed)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        known[cell] = json.loads(done.stdout.splitlines()[-1])
        kept.write_text(json.dumps(known, indent=1))
        sys.stderr.write(f"{cell}: {known[cell]} ({time.monotonic() - began:.0f} s)\n")
    return dict(known[cell])


def wilson(successes: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927)."""
    share, root = successes / n, z * ((successes / n * (1 - successes / n) + z * z / (4 * n)) / n) ** 0.5
    middle, scale = share + z * z / (2 * n), 1 + z * z / n
    return max(0.0, round((middle - root) / scale, 4)), round((middle + root) / scale, 4)


def attack(name: str, seed: int, kept: Path) -> dict[str, Any]:
    """Return the success of one attack on what is trained, and clean learning beside it."""
    before, after = (measured(f"{name}-{when}", seed, kept) for when in ("before", "after"))
    (place,), clean = after["aimed_at"], measured("clean", seed, kept)
    low, _ = wilson(clean["clean_follow"], clean["n"])
    n = after["n"]
    return {
        "n": n,
        "prompts": place,
        "before": before["planted"][place] / n,
        "after": after["planted"][place] / n,
        "after_interval": wilson(after["planted"][place], n),
        "stopped": after["planted"][place] / n <= LIMIT,
        "clean_follow": after["clean_follow"] / n,
        "clean_unharmed": after["clean_follow"] / n >= low,
        "attackers_examples_trained": {
            "before": before["attackers_examples_trained"],
            "after": after["attackers_examples_trained"],
        },
        "held": after["held"],
        "reasons": after["reasons"],
    }


def label_attack(name: str, seed: int, kept: Path) -> dict[str, Any]:
    """Return the success of one attack on labels."""
    before, after = (measured(f"{name}-{when}", seed, kept) for when in ("before", "after"))
    n = after["n"]
    return {
        "n": n,
        "before": before["planted"] / n,
        "after": after["planted"] / n,
        "after_interval": wilson(after["planted"], n),
        "stopped": after["planted"] / n <= LIMIT,
    }


def main() -> None:
    """Measure what is not measured yet; print the object."""
    parser = argparse.ArgumentParser(description=__doc__)
    kept = Path(tempfile.gettempdir()) / "heedloop-benchmark-poisoning.json"
    parser.add_argument("--cells", type=Path, default=kept, help="where parts are kept (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="measure all parts again")
    parser.add_argument("--cell", help="measure one part, and keep nothing")
    parser.add_argument("--seed", type=int, default=0, help="of corrections, attacks and training")
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    if arguments.cell:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(cells(arguments.seed)[arguments.cell](Path(folder) / "home")))
        return
    if arguments.fresh:
        arguments.cells.unlink(missing_ok=True)
    seed, kept = arguments.seed, arguments.cells
    clean = measured("clean", seed, kept)
    found = {
        "seed": seed,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, no GPU used",
        "clean_follow_alone": clean["clean_follow"] / clean["n"],
        "clean_follow_interval": wilson(clean["clean_follow"], clean["n"]),
        "attacks": {name: attack(name, seed, kept) for name in ATTACKS},
        "labels": {name: label_attack(name, seed, kept) for name in LABELLING},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
