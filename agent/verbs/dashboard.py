"""`run.py status --watch`: one screen of what is going on, drawn anew every second.

On a terminal it is redrawn in place; elsewhere each refresh is a block of plain text.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from store.clock import now_ms
from store.database import Store
from store.printing import moment, print_json, printable
from store.status import summary
from store.trends import trends

REFRESH_S = 1.0
_SHARE = 9
"""So many times as long as it took to look is waited for: a large store is not kept busy by being watched."""
_BARS = "▁▂▃▄▅▆▇█"
_NAME, _VALUE = 28, 10
_ALERTS, _DIRECTIONS = 3, 8
"""So many of the newest are shown, so that a screen holds it all."""
_COLOURS = {"ready": "green", "starting": "yellow", "restarting": "yellow", "failed": "red"}


def watch(store: Store, *, json: bool) -> None:
    """Show the system until interrupted. `json`: one object a refresh, a line each."""
    if json or not sys.stdout.isatty():
        _print(store, json=json)
    else:
        _draw(store)


def dashboard(now: dict[str, Any], lately: dict[str, Any], at: int) -> RenderableType:
    """Return one screen of a summary and the trends beside it; `at` is the time of it, UTC milliseconds."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_NAME, overflow="ellipsis", no_wrap=True)
    grid.add_column(width=_VALUE, justify="right", no_wrap=True)
    grid.add_column(overflow="ellipsis", no_wrap=True)
    for name, value, drawn in [*_throughput(lately), *_learning(now, lately), *_scores(now, lately)]:
        heading = not value and not drawn
        grid.add_row(Text(name, style="bold" if heading else ""), Text(value), Text(drawn, style="cyan"))
    return Group(*_head(now, at), *_alerts(lately), grid, *_counts(now))


def sparkline(values: Sequence[float], low: float | None = None, high: float | None = None) -> str:
    """Draw values as bars, from `low` to `high`; absent: their own least and greatest."""
    low = min(values, default=0.0) if low is None else low
    high = max(values, default=0.0) if high is None else high
    if high <= low:
        return _BARS[0] * len(values)
    top = len(_BARS) - 1
    return "".join(_BARS[round(top * min(max((value - low) / (high - low), 0.0), 1.0))] for value in values)


def _draw(store: Store) -> None:
    with Live(auto_refresh=False, vertical_overflow="crop") as live:
        while True:
            began = time.monotonic()
            at = now_ms()
            live.update(dashboard(summary(store), trends(store, at), at), refresh=True)
            _rest(began)


def _print(store: Store, *, json: bool) -> None:
    console = Console(force_terminal=False, color_system=None)
    while True:
        began = time.monotonic()
        at = now_ms()
        now, lately = summary(store), trends(store, at)
        if json:
            print_json(now | {"lately": lately})
        else:
            console.print(dashboard(now, lately, at), "", sep="\n", highlight=False)
        _rest(began)


def _rest(began: float) -> None:
    time.sleep(max(REFRESH_S, _SHARE * (time.monotonic() - began)))


def _head(now: dict[str, Any], at: int) -> Iterable[RenderableType]:
    activity = "paused" if now["paused"] else now["activity"] or "not started"
    yield Text.assemble(("heedloop", "bold"), f"  {activity}  {moment(at)}")
    version = now["version"]
    if version is not None:
        age = _age(at - version["created"])
        yield Text(f"version {version['id']} ({version['kind']}), in force for {age}")
    processes = Text("processes")
    for process in now["processes"]:
        restarts = f" ({process['restarts']} restarts)" if process["restarts"] else ""
        processes.append(f"  {process['name']} ")
        processes.append(f"{process['state']}{restarts}", style=_COLOURS.get(process["state"], ""))
    yield processes
    for name in ("server_url", "broker_url"):
        if now[name] is not None:
            yield Text(f"{name.removesuffix('_url')} {now[name]}")


def _alerts(lately: dict[str, Any]) -> Iterable[RenderableType]:
    for alert in lately["alerts"][-_ALERTS:]:
        said = printable(f"ALERT {alert['ts'][:19]}Z  {alert['message']}")
        said.stylize("red")
        yield said


def _throughput(lately: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    yield f"a minute, {len(lately['turns'])} minutes", "", ""
    for name in ("turns", "answers", "steps"):
        yield f"  {name}", str(lately[name][-1]), sparkline(lately[name], low=0)


def _learning(now: dict[str, Any], lately: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    step = now["last_step"]
    if step is None:
        yield "no step yet", "", ""
        return
    yield f"step {step['id']}", "", ""
    yield "  loss", f"{step['loss']:.3f}", sparkline(lately["losses"])
    yield "  learning rate", f"{step['learning_rate']:.2e}", ""
    yield "  general replay, all steps", f"{now['replay_share']:.1%}", ""


def _scores(now: dict[str, Any], lately: dict[str, Any]) -> Iterable[tuple[str, str, str]]:
    probe = now["last_probe"]
    if probe is not None:
        yield f"probes: {probe['verdict']}", "", ""
        for name, exact in lately["probes"].items():
            values = [round(value, 3) for value in exact]  # as they are printed: no mountains out of rounding
            yield f"  {name}", f"{values[-1]:.3f}", sparkline(values)
    follow = list(lately["follow"].items())
    if follow:
        shown = f", {_DIRECTIONS} of {len(follow)}" if len(follow) > _DIRECTIONS else ""
        yield f"follow-rate of directions{shown}", "", ""
    for direction, rates in follow[-_DIRECTIONS:]:
        yield f"  {printable(direction).plain}".replace("\n", " "), f"{rates[-1]:.2f}", sparkline(rates, 0, 1)


def _counts(now: dict[str, Any]) -> Iterable[RenderableType]:
    parts = {
        "versions": now["versions"],
        "labels": now["labels"],
        "waiting": {name: n for name, n in now["queues"].items() if n},
        "held for you": now["held"],
        "dead letters": {"all": sum(now["dead_letters"].values())} if now["dead_letters"] else {},
    }
    for name, counts in parts.items():
        if counts:
            said = "  ".join(f"{what.replace('_', ' ')} {n}" for what, n in counts.items())
            yield Text.assemble((name, "bold"), f"  {said}")


def _age(milliseconds: int) -> str:
    seconds = max(milliseconds, 0) // 1000
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
