"""Faults of the broker and of the way to it."""

from __future__ import annotations

import os
import signal
import time

from agent.undelivered import FOLDER
from benchmarks.faults.process_faults import is_dead, is_stopped
from benchmarks.faults.proxy import Mode
from benchmarks.faults.round import until
from benchmarks.faults.stage import Fault, Proof, Stage
from benchmarks.faults.system import is_alive, process_state

_AWAY_S = 6.0
_STOPPED_S = 10.0
_ENDING_S = 10.0
_ON_THE_WAY_S = 0.5
"""until the broker has the loop's last acknowledgements"""


def kill_broker(stage: Stage) -> Proof:
    """Kill mosquitto with -9; it is started again after a moment."""
    assert stage.broker is not None
    before = stage.broker.pid
    stage.broker.kill()
    time.sleep(stage.random.uniform(0.0, 3.0))
    stage.broker.start()
    return {"ended": before, "now": stage.broker.pid}


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
    time.sleep(_STOPPED_S)
    state = process_state(pid)
    os.kill(pid, signal.SIGCONT)
    return {"stopped": pid, "state": state, "seconds": _STOPPED_S}


def is_another(proof: Proof) -> bool:
    """Say whether another broker took its place."""
    return bool(proof["ended"] != proof["now"])


def on_the_way(name: str, mode: Mode, counter: str, seconds: float = _AWAY_S) -> Fault:
    """Let the connection to the broker be like that for a while; the proxy counts whom it met."""

    def inflict(stage: Stage) -> Proof:
        assert stage.proxy is not None
        before = getattr(stage.proxy, counter)
        stage.proxy.switch(mode)
        time.sleep(seconds)
        stage.proxy.switch("pass")
        return {"seconds": seconds, counter: getattr(stage.proxy, counter) - before}

    return Fault(name, "broker", inflict, lambda proof: proof[counter] > 0, needs="mosquitto")


def kill_embedded(stage: Stage) -> Proof:
    """Kill the embedded broker with -9."""
    pid = stage.system.signal("broker", signal.SIGKILL)
    return {"killed": pid, "alive_after": not until(lambda: not is_alive(pid), _ENDING_S)}


def kill_both(stage: Stage) -> Proof:
    """Stop the loop, let messages pile up in the embedded broker, then kill that with -9."""
    loop = stage.system.signal("loop", signal.SIGSTOP)
    time.sleep(_ON_THE_WAY_S)
    before = _kept_bytes(stage)
    time.sleep(3.0)
    kept, state = _kept_bytes(stage) - before, process_state(loop)
    killed = kill_embedded(stage)
    os.kill(loop, signal.SIGCONT)
    return {**killed, "stopped": loop, "state": state, "kept_bytes": kept}


def piled_up(proof: Proof) -> bool:
    """Say whether the broker had messages that the loop had not when it was killed."""
    return is_dead(proof) and is_stopped(proof) and proof["kept_bytes"] > 0


def _kept_bytes(stage: Stage) -> int:
    return sum(path.stat().st_size for path in (stage.system.home / FOLDER).iterdir())


FAULTS = (
    Fault("kill_broker", "broker", kill_broker, is_another, needs="mosquitto"),
    Fault("restart_broker", "broker", restart_broker, is_another, needs="mosquitto"),
    Fault("stop_broker", "broker", stop_broker, is_stopped, needs="mosquitto"),
    on_the_way("broker_unreachable", "refuse", "refused"),
    on_the_way("broker_slow", "slow", "delayed", 10.0),
    on_the_way("half_open", "half_open", "swallowed", 20.0),
    Fault("kill_embedded_broker", "broker", kill_embedded, is_dead, ("broker",), needs="embedded"),
    Fault("kill_embedded_broker_full", "broker", kill_both, piled_up, ("broker",), needs="embedded"),
)
