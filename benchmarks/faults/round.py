"""One round: the fault, the way back, and what is found when all is quiet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.faults.load import Load
from benchmarks.faults.stage import Fault, Stage
from benchmarks.faults.system import System
from policies.errors import HeedloopError
from store import examples, steps
from store.database import open_read_only
from store.inspection import inspect

LIMIT_S = {"loop": 30.0, "learner": 30.0, "broker": 30.0, "ui": 30.0, "vllm": 60.0, "system": 90.0}
"""Stated times of recovery: of the part that was hurt, until the whole works again."""
_GIVE_UP_S = 150.0
_QUIET_S = 60.0
_POLL_S = 0.1
_KEPT = "SELECT event_id FROM events UNION ALL SELECT event_id FROM corrections"
_KNOWN_AGAIN = "SELECT value FROM counters WHERE name = 'turns_duplicate'"


def run(fault: Fault, stage: Stage, patience: float) -> dict[str, Any]:
    """Inflict a fault on the working system; return one line for the journal.

    `patience` stretches the time after which it counts as wedged, for a machine that others use, too.
    """
    stage.load.resume()
    time.sleep(stage.random.uniform(0.5, 2.5))
    before, restarts = _pids(stage), stage.system.restarts
    proof = fault.inflict(stage)
    hurt = time.monotonic()
    proof |= fault.follow(stage, proof)
    back = until(lambda: _works(stage, fault, before), patience * _GIVE_UP_S)
    recovery = time.monotonic() - hurt
    stage.load.pause()
    quiet = back and until(lambda: _is_quiet(stage), patience * _QUIET_S)
    after, wrong = _pids(stage), fault.wrong(proof)
    restarted = stage.system.restarts - restarts
    line: dict[str, Any] = {
        "fault": fault.name,
        "victim": fault.victim,
        "proof": proof,
        "pids": {"before": before, "after": after},
        "recovery_s": round(recovery, 2),
        "in_time": back and recovery <= LIMIT_S[fault.victim],
        "wedged": int(not quiet),
        "unproven": int(not (fault.shown(proof) and replaced(fault, before, after))),
        "up_restarted": restarted,
        "up_died": died(fault, restarted),
    }
    return line | _account(stage, [] if wrong is None else [wrong])


def died(fault: Fault, restarted: int) -> int:
    """Return how often `up` ended though the fault does not end it; what starts it again hides that."""
    return 0 if "up" in fault.replaced else restarted


def settle(stage: Stage, seconds: float) -> bool:
    """Wait until the system works, and all that was said is learned."""
    return until(stage.system.is_ready, seconds) and until(lambda: _is_quiet(stage), seconds)


def _works(stage: Stage, fault: Fault, before: Mapping[str, int | None]) -> bool:
    """Say whether all processes are there, and what is said now arrives by either way."""
    stage.system.keep()
    if not stage.system.is_ready() or not stage.system.answers():
        return False
    serving = stage.system.known("serving")
    stage.load.server = (serving["url"], serving["model_name"])  # a restart took other ports
    if not replaced(fault, before, _pids(stage)):
        return False
    last = [stage.load.say(correct=False, way=way).turns[-1] for way in ("bus", "log")]
    arrived = "SELECT count(*) FROM events WHERE event_id IN (?, ?)"
    return until(lambda: stage.system.one(arrived, *last) == len(last), 3.0)


def replaced(fault: Fault, before: Mapping[str, int | None], after: Mapping[str, int | None]) -> bool:
    """Say whether all that the fault ends are there again, and are others."""
    return all(after.get(name) not in (None, before.get(name)) for name in fault.replaced)


def _is_quiet(stage: Stage) -> bool:
    """Say whether everything said has come, is learned, and stands in a version that is live."""
    system, load = stage.system, stage.load
    if system.ended or not load.flush(0.1) or missing(system, load) or unrecognised(system, load):
        return False
    store = open_read_only(stage.system.home)
    try:
        version = stage.system.version()
        unsent = store.rows("SELECT count(*) FROM outbox WHERE sent IS NULL")[0][0]
        waiting = store.rows("SELECT count(*) FROM corrections WHERE state = 'waiting'")[0][0]
        durable = version is not None and (version.last_step or 0) == steps.last_confirmed(store)
        learned = not examples.pending(store) and not steps.unfinished(store)
        return durable and learned and not unsent and not waiting and stage.system.weights_agree() is None
    except HeedloopError:
        return False
    finally:
        store.close()


def missing(system: System, load: Load) -> list[str]:
    """Return the ids that were said and are not in the store, each with the way it was told."""
    said = {turn: one.way for one in load.said for turn in one.turns}
    said |= {one.correction: "bus" for one in load.said if one.correction is not None}
    kept = {row[0] for row in system.rows(_KEPT)}
    return sorted(f"{one} by {way}" for one, way in said.items() if one not in kept)


def unrecognised(system: System, load: Load) -> int:
    """Return how many turns that were told both ways have come by one of them alone, so far: at least.

    A message that the broker brings twice is known again, too, and hides one.
    """
    twice = sum(len(one.turns) for one in load.said if one.way == "both")
    return int(max(0, twice - (system.one(_KNOWN_AGAIN) or 0)))


def _account(stage: Stage, wrong: list[str]) -> dict[str, Any]:
    """Count what is lost, doubled, or wrong; `wrong` was found already."""
    lost, once = missing(stage.system, stage.load), unrecognised(stage.system, stage.load)
    detail = [*lost[:3], *([f"{once} turns told both ways came by one"] if once else [])]
    found = inspect(stage.system.home, learning=True)
    doubles = [one for one in found if one.kind == "double"]
    others = [one for one in found if one.kind not in ("double", "told")]
    differs = _weights(stage)
    return {
        "lost": len(lost),
        "unrecognised": once,
        "duplicated": sum(one.number for one in doubles),
        "weights_mismatch": int(differs is not None),
        "said": sum(len(one.turns) + (one.correction is not None) for one in stage.load.said),
        "answered": stage.load.answered,
        "steps": stage.system.one("SELECT count(*) FROM steps WHERE state = 'confirmed'"),
        "versions": stage.system.one("SELECT count(*) FROM versions"),
        "findings": [*wrong, *(f"{one.name}: {one.detail}" for one in (*doubles, *others))],
        "detail": [*detail, *([differs] if differs else [])],
    }


def _weights(stage: Stage) -> str | None:
    try:
        return stage.system.weights_agree()
    except HeedloopError as error:
        return str(error)


def _pids(stage: Stage) -> dict[str, int | None]:
    """Return the process ids of the supervisor and of its children that are ready."""
    try:
        rows = stage.system.rows("SELECT name, pid FROM processes WHERE state = 'ready'")
    except HeedloopError:
        return {}
    found: dict[str, int | None] = {row["name"]: row["pid"] for row in rows}
    return {"up": stage.system.pid, **found}


def until(found: Callable[[], bool], seconds: float) -> bool:
    """Ask until it is so, for some seconds at most. Returns whether it came to be."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if found():
                return True
        except HeedloopError:  # its store is not there yet, or its server is just restarting
            time.sleep(_POLL_S)
        time.sleep(_POLL_S)
    return False
