"""Faults of processes: killed with -9, stopped for ten seconds, the clock set."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from benchmarks.faults.stage import Fault, Proof, Stage
from benchmarks.faults.system import is_alive, process_state

_STOPPED_S = 10.0
_JUMP_S, _JUMPED_S = 7200, 6.0


def kill(child: str) -> Fault:
    """Kill one child with -9."""

    def inflict(stage: Stage) -> Proof:
        pid = stage.system.signal(child, signal.SIGKILL)
        while is_alive(pid):
            time.sleep(0.01)
        return {"killed": pid}

    return Fault(f"kill_{child}", child, inflict, (child,))


def stop(child: str) -> Fault:
    """Stop one child for ten seconds."""

    def inflict(stage: Stage) -> Proof:
        pid = stage.system.signal(child, signal.SIGSTOP)
        time.sleep(0.2)
        state = process_state(pid)
        time.sleep(_STOPPED_S)
        os.kill(pid, signal.SIGCONT)
        return {"stopped": pid, "state": state, "seconds": _STOPPED_S}

    return Fault(f"stop_{child}", child, inflict)


def kill_supervisor(stage: Stage) -> Proof:
    """Kill `run.py up` itself; what watches it starts it again."""
    pids = stage.system.kill()
    stage.system.start()
    return {"killed": pids[0], "children": pids[1:], "alive_after": [pid for pid in pids if is_alive(pid)]}


def jump(seconds: int) -> Callable[[Stage], Proof]:
    """Set the clock of all its processes, and back."""

    def inflict(stage: Stage) -> Proof:
        count = "SELECT ifnull(max(received), 0) FROM events"
        before = stage.system.one(count)
        stage.system.move_clock(seconds)
        time.sleep(_JUMPED_S)
        newest = "SELECT received FROM events ORDER BY seq DESC LIMIT 1"
        during = stage.system.one(newest)
        stage.system.move_clock(0)
        return {"set_by_s": seconds, "last_row_before_ms": before, "row_during_ms": during}

    return inflict


FAULTS = (
    kill("loop"),
    kill("learner"),
    kill("vllm"),
    kill("ui"),
    stop("loop"),
    stop("learner"),
    stop("vllm"),
    Fault("kill_supervisor", "system", kill_supervisor, ("loop", "learner", "vllm")),
    Fault("clock_forward", "loop", jump(_JUMP_S)),
    Fault("clock_back", "loop", jump(-_JUMP_S)),
)
