"""Rows of the supervised processes."""

from __future__ import annotations

from pathlib import Path

from store.database import open_read_only, open_store
from store.processes import forget_processes, processes, record_process


def test_one_row_a_child_with_its_latest_state(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    record_process(store, "vllm", "starting", 11)
    record_process(store, "loop", "ready", 12)
    record_process(store, "vllm", "restarting", None, restarts=2, detail="killed by SIGKILL")
    reader = open_read_only(tmp_path)
    loop, vllm = processes(reader)
    assert (loop.name, loop.pid, loop.state, loop.restarts, loop.detail) == ("loop", 12, "ready", 0, "")
    assert (vllm.pid, vllm.state, vllm.restarts, vllm.detail) == (None, "restarting", 2, "killed by SIGKILL")
    assert vllm.updated >= loop.updated > 0
    forget_processes(store)
    assert processes(reader) == []
    reader.close()
    store.close()
