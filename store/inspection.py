"""The whole look at a store: file, write-ahead log, rows, version files. Reads only; changes nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from store.consistency import examine_rows
from store.damage import Damage, damage
from store.database import FILE_NAME, Store, open_read_only
from store.home import VERSIONS
from store.version_files import examine_files
from store.write_ahead_log import examine_log

_RECOVER = "sqlite3 heedloop.db .recover, or restore a copy; the agent's logs are read again"
_SEND_AGAIN = "start `run.py up`: it records the loss and says from when on to send again what came by bus"


def inspect(home: Path, *, learning: bool) -> list[Damage]:
    """Return all that is wrong. `learning`: a learner runs. Raises ConfigError where there is no store."""
    log = list(_examine_log(home / FILE_NAME))
    if any(found.kind == "damage" for found in log):
        return log  # to open it is to forget what the log says
    store = open_read_only(home)
    try:
        found = [*log, *_examine_database(store), *_told(store)]
        if not any(one.name == "damaged database" for one in found):
            found += [*examine_rows(store, learning=learning), *examine_files(store, home / VERSIONS)]
        return found
    except sqlite3.DatabaseError as error:
        return [Damage("damaged database", "damage", 1, (str(error),), _RECOVER)]
    finally:
        store.close()


def _examine_log(database: Path) -> Iterator[Damage]:
    report = examine_log(database)
    if report is not None and report.cut:
        frames = f"{report.lost} of {report.counted} frames are in neither log nor database"
        yield Damage("write-ahead log was cut", "damage", max(1, report.lost), (frames,), _SEND_AGAIN)


def _examine_database(store: Store) -> Iterator[Damage]:
    found = [str(row[0]) for row in store.rows("PRAGMA integrity_check(10)")]
    yield from damage("damaged database", "damage", [one for one in found if one != "ok"], _RECOVER)
    broken = [f"{row[0]} row {row[1]} -> {row[2]}" for row in store.rows("PRAGMA foreign_key_check")]
    yield from damage("row that points to a row that is not there", "orphan", broken, _RECOVER)


def _told(store: Store) -> Iterator[Damage]:
    rows = store.rows("SELECT frames, newest_event FROM log_losses ORDER BY id")
    ids = [f"{row['frames']} frames after event {row['newest_event']}" for row in rows]
    yield from damage("loss that was recorded", "told", ids, "send again what came by bus since then")
