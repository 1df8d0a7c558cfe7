"""Progress of long work: how much is done, and about how long the rest takes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Progress:
    """Tells one line for every part done; `work` is the whole in any unit, parts say their share of it."""

    def __init__(self, tell: Callable[[str], None], work: float) -> None:
        self._tell, self._work, self._done, self._began = tell, work, 0.0, time.monotonic()

    def done(self, line: str, part: float = 1.0) -> None:
        """Count a part, and tell it with an estimate of what is left."""
        self._done += part
        spent = time.monotonic() - self._began
        left = spent * max(0.0, self._work - self._done) / self._done
        self._tell(f"{self._done / self._work:4.0%}, {lasting(left)} left: {line}")


def lasting(seconds: float) -> str:
    """Write a time for people."""
    return f"about {seconds:.0f} s" if seconds < 100 else f"about {seconds / 60:.0f} min"
