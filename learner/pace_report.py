"""What the store is told of the learner's pace and of the server's prefix cache: read by `status`."""

from __future__ import annotations

import time
from dataclasses import asdict

import structlog

from learner.live.load import LoadWords
from learner.pacing import Pace, Pacer
from store import outbox, state
from store.database import Store

log = structlog.get_logger()

EVERY_S = 10.0
_ALERTS: dict[str, str] = {
    "unsound": "cached prefixes are not used: this vLLM does not keep those of older weights apart (its log"
    " says why); set server.prefix_cache to none",
    "silent": "the server does not tell its load, so the learner cannot give way to it: start it with"
    " --scheduler-cls learner.live.scheduler.live_scheduler",
}


class PaceReport:
    """Writes the pace now and then, and at once when the learner begins or ceases to be starved."""

    def __init__(self, store: Store, pacer: Pacer) -> None:
        self._store, self._pacer = store, pacer
        self._told: Pace | None = None
        self._when = float("-inf")
        self._load: LoadWords | None = None

    def tell_server(self, load: LoadWords) -> None:
        """Say how the attached server keeps cached prefixes; alert where that, or the pacing, cannot work."""
        self._load = load
        with self._store.write() as connection:
            state.put(connection, "prefix_cache", _cache(load))
            if load.cache in _ALERTS:
                message = _ALERTS[load.cache]
                outbox.alert(connection, message)
                log.warning(message)

    def tell(self) -> None:
        """Write the pace where it is due."""
        pace = self._pacer.pace()
        starved = pace.starved_since is not None
        turned = starved != (self._told is not None and self._told.starved_since is not None)
        if not turned and (time.monotonic() - self._when < EVERY_S or pace == self._told):
            return
        with self._store.write() as connection:
            state.put(connection, "pace", asdict(pace))
            if self._load is not None:
                state.put(connection, "prefix_cache", _cache(self._load))
            if turned and starved:
                outbox.alert(connection, _starved(pace))
        if turned:
            log.warning("starved" if starved else "no longer starved", **asdict(pace))
        self._told, self._when = pace, time.monotonic()


def _cache(load: LoadWords) -> dict[str, object]:
    queried, found = load.lookups
    return {"policy": load.cache, "tokens_queried": queried, "tokens_found": found}


def _starved(pace: Pace) -> str:
    cost = "not measured yet" if pace.slowdown is None else f"{pace.slowdown:.0%}"
    return (
        f"the learner is starved: it works {pace.share:.0%} of the time and gets {pace.cpu:.0%} of a CPU then"
        f" (it would slow the server by: {cost}); raise serving.max_slowdown, or give it a core"
    )
