"""`run.py history` and `run.py show`: what was learned, and what led to what."""

from __future__ import annotations

from typing import Any

from policies.config import Config
from store import forgetting as forgetting_of
from store import history
from store.database import open_read_only
from store.home import home_of
from store.printing import moment, print_json, print_table

_SHADES = " ░▒▓█"


def show_past(config: Config, version: str | None, *, forgetting: bool, json: bool) -> None:
    """Print versions, or with `forgetting` how well each learned direction is followed after each of them."""
    if forgetting:
        show_forgetting(config, json=json)
    else:
        show_history(config, version, json=json)


def show_history(config: Config, version: str | None, *, json: bool) -> None:
    """Print versions with their steps and probes, oldest first."""
    with open_read_only(home_of(config)) as store:
        entries = history.timeline(store, version)
    if json:
        print_json(entries)
        return
    print_table(
        "versions",
        ("version", "kind", "when", "steps", "file", "moments", "probes", "note"),
        [_version_row(entry) for entry in entries],
    )
    steps = [step for entry in entries for step in entry["steps"]]
    print_table(
        "steps (`show N` leads to the sentences behind one)",
        ("step", "state", "when", "loss", "rate", "replay", "rehearsed", "sec."),
        [
            (
                s["id"],
                s["state"],
                moment(s["finished"])[5:19],  # eight columns have no room for the year in 80 characters
                s["loss"],
                s["learning_rate"],
                s["replay_share"],
                s["rehearsed"],
                s["seconds"],
            )
            for s in steps
        ],
    )


def show_forgetting(config: Config, *, json: bool) -> None:
    """Print how well each learned direction is followed after each version, and what else was probed."""
    with open_read_only(home_of(config)) as store:
        found = forgetting_of.matrix(store)
    if json:
        print_json(found)
        return
    stages = found["stages"]
    columns = ("direction", *(f"step {stage['step']}" for stage in stages))
    rows = [(name, *(_heat(stage["follow"].get(name)) for stage in stages)) for name in found["directions"]]
    print_table("follow-rate of what was learned, after each check (items)", columns, rows)
    probes = list(dict.fromkeys(name for stage in stages for name in stage["general"]))
    general = [(name, *(stage["general"].get(name, "-") for stage in stages)) for name in probes]
    print_table("the other probes of these checks", ("probe", *columns[1:]), general)
    if found["backward_transfer"] is not None:
        print_table("backward transfer (last less first)", ("mean",), [(found["backward_transfer"],)])


def _heat(cell: list[float] | None) -> str:
    if cell is None:
        return "-"
    rate, items = cell
    return f"{_SHADES[round(rate * (len(_SHADES) - 1))] * 2} {rate:.2f} ({items:.0f})"


def show_one(config: Config, identifier: str, *, json: bool) -> None:
    """Print one thing with its causes and effects."""
    with open_read_only(home_of(config)) as store:
        found = history.show(store, identifier)
    if json:
        print_json(found)
        return
    for name, value in found.items():
        _print_part(name, value)


def _version_row(entry: dict[str, Any]) -> tuple[object, ...]:
    version, probes = entry["version"], entry["probes"]
    if version is None:
        return ("(not yet durable)", "train", "-", len(entry["steps"]), "-", "-", "-", "")
    said = "; ".join(f"{p['verdict']} {_values(p['values'])}" for p in probes)
    steps = f"{version['first_step']}-{version['last_step']}" if entry["steps"] else "-"
    what = (version["id"], version["kind"], moment(version["created"]), steps)
    return (*what, _size(version), version["moments"], said or "-", version["note"])


def _size(version: dict[str, Any]) -> str:
    """What a version's file takes: its size, the share of the full tensors, the time of writing it."""
    if not version["bytes"]:
        return "-"
    share = version["bytes"] / version["full_bytes"]
    took = "" if version["save_ms"] is None else f" in {version['save_ms']:.0f} ms"
    return f"{version['bytes'] / 1e6:.1f} MB ({share:.0%}){took}"


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
