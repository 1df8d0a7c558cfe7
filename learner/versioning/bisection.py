"""Which version broke a probe? Binary search over the stored versions on the path to the bad one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from policies.errors import InputError
from store import probes
from store.database import Store
from store.versions import Version

Items = Mapping[str, float]
Source = Literal["recorded", "measured"]


@dataclass(frozen=True)
class Seen:
    """The value of the probe at a version, on the items that the good end has too, and where it is from."""

    version: str
    value: float
    items: int
    source: Source
    broken: bool


@dataclass(frozen=True)
class Found:
    """The first bad version and the last good one before it; the steps in between; all that was looked at."""

    first_bad: Version
    last_good: Version
    threshold: float
    seen: tuple[Seen, ...]


def recorded(store: Store, version: Version, probe: str) -> Items | None:
    """Return the scores of the last probe run that judged a version, by item; None where there is none."""
    row = store.row(
        "SELECT p.id FROM probes p JOIN probe_values v ON v.probe_id = p.id"
        " WHERE p.version_id = ? AND p.verdict != 'breach' AND v.name = ? ORDER BY p.id DESC LIMIT 1",
        (version.id, probe),
    )
    if row is None and version.parent is None:  # the base model's were measured before anything else
        found = probes.baseline(store).get(probe)
        return found or None
    return None if row is None else probes.scores(store, row["id"])[probe]


def bisect(
    path: Sequence[Version],
    look: Callable[[Version], tuple[Items, Source]],
    threshold: float | None = None,
) -> Found:
    """Search `path`, from the good version to the bad one, for the first that is broken.

    Broken is what lies on the bad end's side of `threshold`, which is by default half-way between both ends.
    About log2 of the number of versions are looked at. Raises InputError where the ends do not differ.
    """
    good, bad = look(path[0]), look(path[-1])
    shared = sorted(good[0].keys() & bad[0].keys())
    if not shared:
        raise InputError("the two ends have no probe item in common: measure them anew (--measure)")
    value = {end: _mean(items, shared) for end, (items, _) in (("good", good), ("bad", bad))}
    if value["good"] == value["bad"]:
        raise InputError(
            f"the probe is {value['good']:.4g} at both ends ({path[0].id} and {path[-1].id}): nothing broke"
        )
    limit = (value["good"] + value["bad"]) / 2 if threshold is None else threshold
    worse = 1 if value["bad"] > value["good"] else -1

    def seen(version: Version, looked: tuple[Items, Source]) -> Seen:
        items = [item for item in shared if item in looked[0]] or sorted(looked[0])
        found = _mean(looked[0], items)
        return Seen(version.id, found, len(items), looked[1], worse * (found - limit) > 0)

    ends = [seen(path[0], good), seen(path[-1], bad)]
    if ends[0].broken or not ends[1].broken:
        raise InputError(f"the limit {limit:.4g} does not part {ends[0].value:.4g} from {ends[1].value:.4g}")
    low, high, all_seen = 0, len(path) - 1, ends
    while high - low > 1:
        middle = (low + high) // 2
        all_seen.append(seen(path[middle], look(path[middle])))
        low, high = (low, middle) if all_seen[-1].broken else (middle, high)
    return Found(path[high], path[low], limit, tuple(all_seen))


def _mean(items: Items, names: Sequence[str]) -> float:
    return sum(items[name] for name in names) / len(names)
