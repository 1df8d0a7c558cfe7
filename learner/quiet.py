"""How long nothing new has come: by the wall clock, and by the monotonic one where that is set back."""

from __future__ import annotations

import time

from store.clock import now_ms


class Quiet:
    """Remembers since when the newest example is the newest."""

    def __init__(self) -> None:
        self._newest: int | None = None
        self._since = 0.0

    def seconds(self, newest: int | None) -> float:
        """Return for how long `newest` (UTC ms; None: there is none) has been the newest.

        A clock that is set back by two hours must not hold training up for two hours.
        """
        if newest is None:
            return float("inf")
        if newest != self._newest:
            self._newest, self._since = newest, time.monotonic()
        return max((now_ms() - newest) / 1000, time.monotonic() - self._since)
