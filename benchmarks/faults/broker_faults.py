"""Faults of the broker and of the way to it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from benchmarks.faults.proxy import Mode
from benchmarks.faults.stage import Fault, Proof, Stage
from benchmarks.faults.system import is_alive, process_state

_AWAY_S = 6.0
_STOPPED_S = 10.0


def kill_broker(stage: Stage) -> Proof:
    """Kill mosquitto with -9; it is started again after a moment."""
    assert stage.broker is not None
    before = stage.broker.pid
    stage.broker.kill()
    time.sleep(stage.random.uniform(0.0, 3.0))
    stage.broker.start()
    return {"killed": before, "now": stage.broker.pid}


def restart_broker(stage: Stage) -> Proof:
    """Restart mosquitto as an update does."""
    assert stage.broker is not None
    before = stage.broker.pid
    stage.broker.stop()
    stage.broker.start()
    return {"ended": before, "now": stage.broker.pid}


def stop_broker(stage: Stage) -> Proof:
    """Stop mosquitto for ten seconds: its connections stand, and nothing is answered."""
    assert stage.broker is not None
    pid = stage.broker.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    state = process_state(pid)
    time.sleep(_STOPPED_S)
    os.kill(pid, signal.SIGCONT)
    return {"stopped": pid, "state": state, "seconds": _STOPPED_S}


def on_the_way(mode: Mode, counter: str, seconds: float = _AWAY_S) -> Callable[[Stage], Proof]:
    """Let the connection to the broker be like that for a while."""

    def inflict(stage: Stage) -> Proof:
        assert stage.proxy is not None
        before = getattr(stage.proxy, counter)
        stage.proxy.switch(mode)
        time.sleep(seconds)
        stage.proxy.switch("pass")
        return {"seconds": seconds, counter: getattr(stage.proxy, counter) - before}

    return inflict


def kill_embedded(stage: Stage) -> Proof:
    """Kill the embedded broker with -9."""
    pid = stage.system.signal("broker", signal.SIGKILL)
    return {"killed": pid, "alive_after": is_alive(pid)}


def kill_both(stage: Stage) -> Proof:
    """Stop the loop, let messages pile up in the embedded broker, then kill that with -9."""
    loop = stage.system.signal("loop", signal.SIGSTOP)
    time.sleep(3.0)
    broker = stage.system.signal("broker", signal.SIGKILL)
    stage.system.signal("loop", signal.SIGCONT)
    return {"killed": broker, "stopped": loop}


FAULTS = (
    Fault("kill_broker", "broker", kill_broker, needs="mosquitto"),
    Fault("restart_broker", "broker", restart_broker, needs="mosquitto"),
    Fault("stop_broker", "broker", stop_broker, needs="mosquitto"),
    Fault("broker_unreachable", "broker", on_the_way("refuse", "refused"), needs="mosquitto"),
    Fault("broker_slow", "broker", on_the_way("slow", "delayed", 10.0), needs="mosquitto"),
    Fault("half_open", "broker", on_the_way("half_open", "swallowed", 20.0), needs="mosquitto"),
    Fault("kill_embedded_broker", "broker", kill_embedded, ("broker",), needs="embedded"),
    Fault("kill_embedded_broker_full", "broker", kill_both, ("broker",), needs="embedded"),
)
