"""Faults of processes: killed with -9, stopped for ten seconds, the clock set."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from benchmarks.faults.stage import Fault, Proof, Stage
from benchmarks.faults.system import is_alive, process_state
from store.clock import now_ms

_STOPPED_S = 10.0
_JUMP_S, _JUMPED_S = 7200, 6.0
_OLD_S = 60
"""How old the newest row may be: turns come several times a second."""


def is_dead(proof: Proof) -> bool:
    """Say whether nothing of what was killed was left."""
    return bool(proof["killed"]) and not proof["alive_after"]


def is_stopped(proof: Proof) -> bool:
    """Say whether the process still stood at the end of its time."""
    return bool(proof["state"] == "T")


def kill(child: str) -> Fault:
    """Kill one child with -9."""

    def inflict(stage: Stage) -> Proof:
        pid = stage.system.signal(child, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.01)
        return {"killed": pid, "alive_after": is_alive(pid)}

    return Fault(f"kill_{child}", child, inflict, is_dead, (child,))


def stop(child: str) -> Fault:
    """Stop one child for ten seconds."""

    def inflict(stage: Stage) -> Proof:
        pid = stage.system.signal(child, signal.SIGSTOP)
        time.sleep(_STOPPED_S)
        state = process_state(pid)
        os.kill(pid, signal.SIGCONT)
        return {"stopped": pid, "state": state, "seconds": _STOPPED_S}

    return Fault(f"stop_{child}", child, inflict, is_stopped)


def kill_supervisor(stage: Stage) -> Proof:
    """Kill `run.py up` itself; what watches it starts it again."""
    pids = stage.system.kill()
    stage.system.start()
    return {"killed": pids[0], "children": pids[1:], "alive_after": [pid for pid in pids if is_alive(pid)]}


def jump(seconds: int) -> Callable[[Stage], Proof]:
    """Set the clock of all its processes, and back."""

    def inflict(stage: Stage) -> Proof:
        stage.system.move_clock(seconds)
        time.sleep(_JUMPED_S)
        newest = "SELECT received FROM events ORDER BY seq DESC LIMIT 1"
        during, asked = stage.system.one(newest), now_ms()
        stage.system.move_clock(0)
        return {"set_by_s": seconds, "asked_ms": asked, "row_during_ms": during}

    return inflict


def is_set(proof: Proof) -> bool:
    """Say whether a row of that time bears the time that was set."""
    expected = proof["asked_ms"] + 1000 * proof["set_by_s"]
    return abs((proof["row_during_ms"] or 0) - expected) <= _OLD_S * 1000


FAULTS = (
    kill("loop"),
    kill("learner"),
    kill("vllm"),
    kill("ui"),
    stop("loop"),
    stop("learner"),
    stop("vllm"),
    Fault("kill_supervisor", "system", kill_supervisor, is_dead, ("up", "loop", "learner", "vllm")),
    Fault("clock_forward", "loop", jump(_JUMP_S), is_set),
    Fault("clock_back", "loop", jump(-_JUMP_S), is_set),
)
