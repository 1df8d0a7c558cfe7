"""`run.py doctor --store`: is everything there exactly once, and are the live weights what the store says?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from agent.diagnosis.finding import Finding, Verdict, ok
from store.damage import Damage
from store.database import open_read_only
from store.inspection import inspect
from store.processes import processes
from store.write_ahead_log import examine_log

Live = Callable[[Path], Iterator[Damage]]
"""Compares the live weights with the version in force; `learner.live.agreement`, handed in."""


def examine_store(home: Path, live: Live) -> list[Finding]:
    """Return one line for each thing that is wrong, or the one that says that nothing is.

    Raises ConfigError where there is no store.
    """
    running = _running(home)
    wrong = inspect(home, learning="learner" in running)
    cut = any(one.kind == "damage" for one in wrong)
    if not cut and "vllm" in running:
        wrong += live(home)
    findings = [_finding(one) for one in wrong]
    return findings if findings else [ok("store", _size(home))]


def _finding(found: Damage) -> Finding:
    verdict: Verdict = "warn" if found.kind == "told" else "failed"
    return Finding(found.name, verdict, f"{found.kind}, {found.detail}", found.advice)


def _running(home: Path) -> set[str]:
    """Return the children that live now. A cut log is not looked behind: to open it is to forget it."""
    report = examine_log(home / "heedloop.db")
    if report is not None and report.cut:
        return set()
    store = open_read_only(home)
    try:
        return {one.name for one in processes(store) if one.pid is not None and psutil.pid_exists(one.pid)}
    finally:
        store.close()


def _size(home: Path) -> str:
    store = open_read_only(home)
    try:
        counted = ("events", "decisions", "examples", "steps", "versions")
        sizes = [f"{store.rows(f'SELECT count(*) FROM {name}')[0][0]} {name}" for name in counted]
        return f"{store.path}: {', '.join(sizes)}; each once, and nothing missing"
    finally:
        store.close()
