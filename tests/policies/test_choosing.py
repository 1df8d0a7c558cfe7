"""Which judged answers an export takes."""

from __future__ import annotations

from typing import Any

import pytest

from policies.choosing import LeftOut, Said, Wanted, since_of, verdict_of
from policies.errors import InputError

SURE = Said("ignored", 0.95, "constraint", "Write lowercase.")
KEPT = Said("followed", 0.97, "reaction", "Be brief.")
UNSURE = Said("ignored", 0.6, "reaction", None)
DUNNO = Said("unknown", 1.0, "constraint", "Be brief.")


@pytest.mark.parametrize(
    ("labels", "wanted", "verdict"),
    [
        ([KEPT, DUNNO], {}, "followed"),
        ([KEPT, SURE], {}, "ignored"),
        ([KEPT, UNSURE], {"min_confidence": 0.5}, "ignored"),
        ([KEPT, SURE], {"direction": "LOWERCASE", "labeller": "constraint", "verdict": "ignored"}, "ignored"),
    ],
)
def test_an_answer_counts_by_its_worst_sure_label(
    labels: list[Said], wanted: dict[str, Any], verdict: str
) -> None:
    assert verdict_of(labels, Wanted(**wanted)) == verdict


@pytest.mark.parametrize(
    ("labels", "wanted", "reason"),
    [
        ([], {}, "unknown"),
        ([DUNNO], {}, "unknown"),
        ([UNSURE], {}, "less sure than 0.9"),
        ([KEPT, UNSURE], {}, "disputed"),
        ([KEPT], {"verdict": "ignored"}, "followed, not asked for"),
        ([KEPT, SURE], {"direction": "brief"}, "another direction"),  # what decides is the other label
        ([KEPT, SURE], {"labeller": "reaction"}, "another labeller"),
    ],
)
def test_what_is_not_wanted_has_a_reason(labels: list[Said], wanted: dict[str, Any], reason: str) -> None:
    with pytest.raises(LeftOut, match=reason):
        verdict_of(labels, Wanted(**wanted))


def test_since_is_a_date_a_time_or_so_long_ago() -> None:
    assert since_of("2026-01-31", 0) == 1769817600000
    assert since_of("2026-01-31T01:00:00+01:00", 0) == 1769817600000
    assert since_of("2d", 200_000_000) == 200_000_000 - 172_800_000
    with pytest.raises(InputError, match="--since 'yesterday'"):
        since_of("yesterday", 0)
