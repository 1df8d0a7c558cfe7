"""The guard's evidence between two checks, and the versions that it may lead back to."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from policies.evidence import Detector
from store import state
from store.database import Store

_NAME = "guard_evidence"


def remember(connection: sqlite3.Connection, version: str, detectors: Mapping[str, Detector]) -> None:
    """Keep the evidence of a check for the next one, which is about what comes after `version`."""
    kept = {name: one.model_dump() for name, one in detectors.items()}
    state.put(connection, _NAME, {"version": version, "detectors": kept})


def forget(connection: sqlite3.Connection) -> None:
    """Begin anew: what the evidence was about is undone."""
    state.put(connection, _NAME, None)


def about(store: Store, version: str) -> dict[str, Detector]:
    """Return the evidence so far, by probe; none where a rollback or a vector made `version` since."""
    kept = state.get(store, _NAME) or {}
    if kept.get("version") != version:
        return {}
    return {name: Detector(**one) for name, one in kept["detectors"].items()}


def leads_to(store: Store, version: str) -> set[str]:
    """Return the versions that a breach after `version` may go back to: those before open evidence."""
    open_ones = (one for one in about(store, version).values() if one.is_open)
    return {one.since for one in open_ones if one.since is not None}
