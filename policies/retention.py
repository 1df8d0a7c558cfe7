"""Which of many versions are kept: the newest ones, and of older ones the last of each day and week."""

from __future__ import annotations

from collections.abc import Sequence

from policies.config import GuardConfig

_DAY_MS = 24 * 3600 * 1000
_WEEK_MS = 7 * _DAY_MS


def kept(created: Sequence[tuple[str, int]], rules: GuardConfig) -> set[str]:
    """Return the ids to keep of (id, UTC milliseconds), oldest first.

    The newest `keep_versions`; the last one of each of the `keep_daily` last days, and of each of the
    `keep_weekly` last weeks, that have one (days and weeks of UTC since 1970).
    """
    chosen = {name for name, _ in created[len(created) - min(rules.keep_versions, len(created)) :]}
    for span, count in ((_DAY_MS, rules.keep_daily), (_WEEK_MS, rules.keep_weekly)):
        last = {moment // span: name for name, moment in created}
        chosen |= {last[period] for period in sorted(last)[len(last) - min(count, len(last)) :]}
    return chosen
