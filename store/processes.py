"""What the supervisor says of each child process: one row each, read by `status` and `/readyz`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from store.clock import now_ms
from store.database import Store

ProcessState = Literal["starting", "ready", "restarting", "stopped", "failed"]


@dataclass(frozen=True)
class Process:
    """One child as it stood at `updated` (UTC milliseconds)."""

    name: str
    pid: int | None
    state: ProcessState
    restarts: int
    detail: str
    updated: int


def record_process(
    store: Store, name: str, state: ProcessState, pid: int | None, restarts: int = 0, detail: str = ""
) -> None:
    """Write the present state of one child over its earlier one."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO processes (name, pid, state, restarts, detail, updated) VALUES (?, ?, ?, ?, ?, ?)"
            " ON CONFLICT (name) DO UPDATE SET pid = excluded.pid, state = excluded.state,"
            " restarts = excluded.restarts, detail = excluded.detail, updated = excluded.updated",
            (name, pid, state, restarts, detail, now_ms()),
        )


def forget_processes(store: Store) -> None:
    """Drop the rows of an earlier run."""
    with store.write() as connection:
        connection.execute("DELETE FROM processes")


def processes(store: Store) -> list[Process]:
    """Return every child of the present or last run, by name."""
    columns = "name, pid, state, restarts, detail, updated"
    return [Process(*row) for row in store.rows(f"SELECT {columns} FROM processes ORDER BY name")]
