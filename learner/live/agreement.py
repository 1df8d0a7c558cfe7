"""Are the live weights the version that the store names, byte for byte?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from learner.live.client import LiveWeights
from policies.errors import HeedloopError
from store import state, steps, versions
from store.damage import Damage
from store.database import open_read_only

_RESTART = "restart the learner (it writes the version in force again), or `run.py rollback --to` a version"


def disagreements(home: Path) -> Iterator[Damage]:
    """Compare position and fingerprint of the running server with the store; nothing while a step is taken.

    Between two versions the bytes have no recorded fingerprint, and only the position is compared.
    """
    store = open_read_only(home)
    try:
        version, last = versions.in_force(store), steps.last_confirmed(store)
        serving = state.get(store, "serving")
        under_way = steps.unfinished(store)
    finally:
        store.close()
    if version is None or serving is None or under_way:
        return
    try:
        live = LiveWeights.attach(Path(serving["arena"]), exclusive=False)
    except HeedloopError as error:
        yield Damage("live weights cannot be read", "gap", 1, (str(error),), "see logs/vllm.log")
        return
    try:
        position = live.position()
        if position.version != version.id or position.step not in (last, version.last_step or 0):
            where = f"version {position.version} step {position.step}, not {version.id} step {last}"
            yield Damage("live weights are of another version", "damage", 1, (where,), _RESTART)
        elif position.step == (version.last_step or 0) and live.fingerprint() != version.fingerprint:
            yield Damage("live weights differ from their version", "damage", 1, (version.id,), _RESTART)
    finally:
        live.close()
