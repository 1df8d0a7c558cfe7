"""How often: a token bucket. Pure: the time is handed in."""

from __future__ import annotations


class Bucket:
    """Lets `per_minute` through as a mean, and as many at once after a quiet minute."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._seen_ms: int | None = None

    def take(self, now_ms: int) -> bool:
        """Take one if there is one. A clock that goes back gives nothing."""
        passed = 0 if self._seen_ms is None else max(0, now_ms - self._seen_ms)
        self._seen_ms = now_ms
        self._left = min(float(self._per_minute), self._left + passed * self._per_minute / 60_000)
        if self._left < 1:
            return False
        self._left -= 1
        return True
