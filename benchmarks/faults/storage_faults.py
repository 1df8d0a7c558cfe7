"""Faults of disk and memory: full, locked, torn, cut, corrupt."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from typing import Any

from benchmarks.faults import room
from benchmarks.faults.round import until
from benchmarks.faults.stage import Fault, Proof, Stage
from store.database import FILE_NAME
from store.home import VERSIONS
from store.write_ahead_log import examine_log

_FULL_S = 6.0
_LOCKED_S = 18.0
_FRAME = 4096 + 24
_PATIENCE_S = 20.0
_NAMING_S = 120.0
_AT_RISK = 60
"""Frames that the log alone must have before some are cut off."""
_BEFORE_MS = 60_000
_FULL_BYTES = 2**16
"""What others may free between the last byte that was written and the look."""


def disk_full(stage: Stage) -> Proof:
    """Fill the file system of the state folder for some seconds."""
    filled = room.fill(stage.system.home)
    left = room.free_bytes(stage.system.home)
    time.sleep(_FULL_S)
    room.free(stage.system.home)
    return {"filled_bytes": filled, "free_bytes": left, "seconds": _FULL_S}


def shared_memory_full(stage: Stage) -> Proof:
    """Fill /dev/shm for some seconds, while the server serves from it."""
    filled = room.fill(room.SHARED_MEMORY)
    left = room.free_bytes(room.SHARED_MEMORY)
    time.sleep(_FULL_S)
    room.free(room.SHARED_MEMORY)
    return {"filled_bytes": filled, "free_bytes": left, "seconds": _FULL_S}


def database_locked(stage: Stage) -> Proof:
    """Hold the write lock from another process's place, longer than the busy timeout."""
    database, said = stage.system.home / FILE_NAME, len(stage.load.said)
    connection = sqlite3.connect(database, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(_LOCKED_S)
    refused, said = _refuses(database), len(stage.load.said) - said
    connection.execute("ROLLBACK")
    connection.close()
    return {"held_by": os.getpid(), "seconds": _LOCKED_S, "refused": refused, "said_meanwhile": said}


def torn_log(stage: Stage) -> Proof:
    """Kill everything, and leave half a frame of a commit that never was at the end of the log."""
    pids = stage.system.kill()
    log = _log(stage)
    header, sound = log.read_bytes()[:32], examine_log(stage.system.home / FILE_NAME)
    assert sound is not None
    os.truncate(log, 32 + sound.frames * _FRAME)  # behind it stand frames of an earlier life
    with log.open("ab") as file:
        file.write(b"\0\0\0\1\0\0\0\0" + header[16:24] + os.urandom(1500))
    report = examine_log(stage.system.home / FILE_NAME)
    assert report is not None
    stage.system.start()
    return {"killed": pids[0], "inode": log.stat().st_ino, "torn_bytes": report.torn, "lost": report.lost}


def cut_log(stage: Stage) -> Proof:
    """Kill everything, and really cut committed frames off the log: the loss must be counted and named."""
    database = stage.system.home / FILE_NAME
    told = stage.system.one("SELECT ifnull(max(id), 0) FROM log_losses")
    until(lambda: _at_risk(database) >= _AT_RISK, _PATIENCE_S)
    pids = stage.system.kill()
    before, log = examine_log(database), _log(stage)
    assert before is not None
    os.truncate(log, 32 + max(0, before.frames - stage.random.randint(5, 40)) * _FRAME)
    after = examine_log(database)
    assert after is not None
    inode = log.stat().st_ino
    stage.system.start()
    return {
        "killed": pids[0],
        "inode": inode,
        "frames_before": before.frames,
        "frames_after": after.frames,
        "lost": after.lost,
        "losses_told_before": told,
    }


def send_again(stage: Stage, proof: Proof) -> Proof:
    """Do what a user does who is told of a loss: send again what came by bus since then.

    Who is told of none sends nothing: then what was cut off stays lost, and is counted.
    """
    loss: list[Any] = []

    def is_named() -> bool:
        stage.system.keep()
        sql = "SELECT frames, newest_ts FROM log_losses WHERE id > ?"
        loss[:] = stage.system.rows(sql, proof["losses_told_before"])
        return bool(loss)

    named = until(is_named, _NAMING_S if proof["lost"] else 0.0)
    since = min(row["newest_ts"] or 0 for row in loss) - _BEFORE_MS if named else None
    return {
        "named": sum(row["frames"] for row in loss),
        "conversations_sent_again": 0 if since is None else stage.load.say_again(since),
    }


def misnamed(proof: Proof) -> str | None:
    """Return how the loss that the system named differs from the one that it suffered."""
    cut, named = proof["lost"], proof["named"]
    return None if cut == named else f"cut log: {cut} committed frames were cut off, {named} were named"


def corrupt_version(stage: Stage) -> Proof:
    """Turn bytes in the file of the version in force, and kill the server, which starts from it."""
    pointer = stage.system.home / VERSIONS / "live.json"
    name = json.loads(pointer.read_text())["file"]
    assert name is not None, "nothing was learned yet"
    path = stage.system.home / VERSIONS / name
    content = bytearray(path.read_bytes())
    place = len(content) // 2
    content[place : place + 64] = bytes(byte ^ 0xFF for byte in content[place : place + 64])
    path.write_bytes(content)
    pid = stage.system.signal("vllm", signal.SIGKILL)
    held = json.loads(pointer.read_text())["file"] == name and path.read_bytes() == content
    return {"file": name, "at": place, "killed": pid, "in_force_when_killed": held}


def _refuses(database: Path) -> bool:
    """Say whether a writer is turned away."""
    other = sqlite3.connect(database, isolation_level=None, timeout=0)
    try:
        other.execute("BEGIN IMMEDIATE")
        return False
    except sqlite3.OperationalError:
        return True
    finally:
        other.close()


def _at_risk(database: Path) -> int:
    """Return how many committed frames are in the log alone."""
    report = examine_log(database)
    return 0 if report is None or report.counted is None else report.counted - report.backfilled


def is_full(proof: Proof) -> bool:
    """Say whether nothing more went in."""
    return proof["filled_bytes"] > 0 and proof["free_bytes"] < _FULL_BYTES


def _log(stage: Stage) -> Path:
    return stage.system.home / f"{FILE_NAME}-wal"


_ALL = ("up", "loop", "learner", "vllm")
FAULTS = (
    Fault("disk_full", "loop", disk_full, is_full),
    Fault("shared_memory_full", "vllm", shared_memory_full, is_full),
    Fault("database_locked", "loop", database_locked, lambda p: p["refused"] and p["said_meanwhile"] > 0),
    Fault("torn_log", "system", torn_log, lambda p: p["torn_bytes"] > 0 and not p["lost"], _ALL),
    Fault("cut_log", "system", cut_log, lambda p: p["lost"] > 0, _ALL, follow=send_again, wrong=misnamed),
    Fault("corrupt_version", "vllm", corrupt_version, lambda p: p["in_force_when_killed"], ("vllm",)),
)
