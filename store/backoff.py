"""The factor on the learning rate: smaller after a breach, whole again after enough passed checks."""

from __future__ import annotations

import sqlite3

from policies.config import GuardConfig
from store import state
from store.database import Store

_NAME = "rate_factor"


def factor(store: Store) -> float:
    """Return the factor in force, 1 where nothing is held back."""
    return float(state.get(store, _NAME, 1.0))


def back_off(connection: sqlite3.Connection, store: Store, config: GuardConfig) -> float:
    """Make it smaller. Returns the new one."""
    return _put(connection, factor(store) * config.backoff)


def recover(connection: sqlite3.Connection, store: Store, config: GuardConfig) -> float:
    """Bring it nearer to 1. Returns the new one."""
    before = factor(store)
    return before if before == 1.0 else _put(connection, min(1.0, before * config.recovery))


def _put(connection: sqlite3.Connection, value: float) -> float:
    state.put(connection, _NAME, value)
    return value
