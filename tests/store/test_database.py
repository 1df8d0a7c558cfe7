"""The one way to open the store."""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from policies.errors import ConfigError, HeedloopError
from store import database
from store.database import FILE_NAME, Store, open_existing, open_read_only, open_store


def add_one(home: Path, times: int) -> None:
    store = open_store(home)
    for _ in range(times):
        with store.write() as connection:
            row = connection.execute("SELECT value FROM counters WHERE name = 'n'").fetchone()
            connection.execute("UPDATE counters SET value = ? WHERE name = 'n'", (row["value"] + 1,))


def counted(store: Store) -> int:
    row = store.row("SELECT value FROM counters WHERE name = 'n'")
    assert row is not None
    return int(row["value"])


def test_read_then_write_loses_no_update_between_processes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.write() as connection:
        connection.execute("INSERT INTO counters VALUES ('n', 0)")
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=add_one, args=(tmp_path, 40)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert counted(store) == 120


def test_an_error_takes_the_whole_transaction_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)

    def interrupted() -> None:
        with store.write() as connection:
            connection.execute("INSERT INTO counters VALUES ('n', 5)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        interrupted()
    assert store.rows("SELECT * FROM counters") == []


def test_tables_are_strict_and_keys_enforced(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(sqlite3.IntegrityError), store.write() as connection:
        connection.execute("INSERT INTO counters VALUES ('n', 'many')")
    with pytest.raises(sqlite3.IntegrityError), store.write() as connection:
        connection.execute("INSERT INTO decisions VALUES ('x#0', 'c', 'no such turn', 0, 1)")


def test_the_file_is_the_users_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    open_store(home)
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / FILE_NAME).stat().st_mode) == 0o600


def test_reading_needs_a_store_and_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has run there yet"):
        open_read_only(tmp_path)
    open_store(tmp_path)
    reader = open_read_only(tmp_path)
    with pytest.raises(sqlite3.OperationalError):
        reader.connection.execute("INSERT INTO counters VALUES ('n', 1)")


def test_a_store_that_must_be_there_is_not_made_and_a_block_closes_what_it_opened(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has run there yet"):
        open_existing(tmp_path)
    assert list(tmp_path.iterdir()) == []
    open_store(tmp_path).close()
    with open_existing(tmp_path) as store, store.write() as connection:
        connection.execute("INSERT INTO counters VALUES ('n', 1)")
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        store.rows("SELECT * FROM counters")


def test_a_foreign_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match="is not a store of heedloop"):
        open_store(tmp_path)


@pytest.mark.parametrize("opening", [open_store, open_read_only])
def test_a_foreign_database_is_one_clear_line_and_is_let_go(
    tmp_path: Path, opening: Callable[[Path], Store]
) -> None:
    foreign = sqlite3.connect(tmp_path / FILE_NAME)
    foreign.execute("CREATE TABLE events (name TEXT)")
    foreign.close()
    with pytest.raises(ConfigError, match="is not a store of heedloop") as refused:
        opening(tmp_path)
    opened = {os.readlink(entry) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()}
    assert str(tmp_path / FILE_NAME) not in opened
    assert refused.value.exit_code == 2


@pytest.mark.parametrize("opening", [open_store, open_read_only])
def test_a_locked_store_is_no_mistake_of_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opening: Callable[[Path], Store]
) -> None:
    open_store(tmp_path).close()
    other = sqlite3.connect(tmp_path / FILE_NAME)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    monkeypatch.setattr(database, "_BUSY_TIMEOUT_MS", 1)
    with pytest.raises(HeedloopError, match="cannot be opened now: database is locked") as refused:
        opening(tmp_path)
    assert refused.value.exit_code == 1
    other.close()
    opening(tmp_path).close()
