"""`run.py history` and `run.py show`: what was learned, and what led to what."""

from __future__ import annotations

from typing import Any

from agent.verbs.output import moment, print_json, print_table
from policies.config import Config
from store import history
from store.database import open_read_only
from store.home import home_of

_STEP_NUMBERS = ("loss", "learning_rate", "replay_share", "seconds")


def show_history(config: Config, version: str | None, *, json: bool) -> None:
    """Print versions with their steps and probes, oldest first."""
    entries = history.timeline(open_read_only(home_of(config)), version)
    if json:
        print_json(entries)
        return
    print_table(
        "versions",
        ("version", "kind", "when", "steps", "probes", "note"),
        [_version_row(entry) for entry in entries],
    )
    steps = [step for entry in entries for step in entry["steps"]]
    print_table(
        "steps (`show N` leads to the sentences behind one)",
        ("step", "state", "when", "loss", "learning rate", "replay", "seconds"),
        [
            (
                s["id"],
                s["state"],
                moment(s["finished"]),
                s["loss"],
                s["learning_rate"],
                s["replay_share"],
                s["seconds"],
            )
            for s in steps
        ],
    )


def show_one(config: Config, identifier: str, *, json: bool) -> None:
    """Print one thing with its causes and effects."""
    found = history.show(open_read_only(home_of(config)), identifier)
    if json:
        print_json(found)
        return
    for name, value in found.items():
        _print_part(name, value)


def _version_row(entry: dict[str, Any]) -> tuple[object, ...]:
    version, probes = entry["version"], entry["probes"]
    if version is None:
        return ("(not yet durable)", "train", "-", len(entry["steps"]), "-", "")
    said = "; ".join(f"{p['verdict']} {_values(p['values'])}" for p in probes)
    steps = f"{version['first_step']}-{version['last_step']}" if entry["steps"] else "-"
    return (version["id"], version["kind"], moment(version["created"]), steps, said or "-", version["note"])


def _values(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.3f}" for name, value in values.items())


def _print_part(name: str, value: Any) -> None:
    if isinstance(value, dict) and any(isinstance(v, (dict, list)) for v in value.values()):
        for key, part in value.items():
            _print_part(f"{name}: {key}" if isinstance(part, (dict, list)) else name, part)
    elif isinstance(value, dict):
        print_table(name, ("field", "value"), list(value.items()))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        print_table(name, tuple(value[0]), [tuple(row.values()) for row in value])
    else:
        print_table(name, ("value",), [(item,) for item in (value if isinstance(value, list) else [value])])
