"""Faults of disk and memory: full, locked, torn, cut, corrupt."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from pathlib import Path

from benchmarks.faults import room
from benchmarks.faults.stage import Fault, Proof, Stage
from store.database import FILE_NAME
from store.home import VERSIONS
from store.write_ahead_log import examine_log, log_bytes

_FULL_S = 6.0
_LOCKED_S = 18.0
_FRAME = 4096 + 24
_PATIENCE_S = 20.0


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
    connection = sqlite3.connect(stage.system.home / FILE_NAME, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    time.sleep(_LOCKED_S)
    connection.execute("ROLLBACK")
    connection.close()
    return {"held_by": os.getpid(), "seconds": _LOCKED_S}


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
    deadline = time.monotonic() + _PATIENCE_S
    while log_bytes(database) < 60 * _FRAME and time.monotonic() < deadline:
        time.sleep(0.1)
    pids = stage.system.kill()
    before, log = examine_log(database), _log(stage)
    assert before is not None
    size = log_bytes(database)
    os.truncate(log, 32 + max(0, before.frames - stage.random.randint(5, 40)) * _FRAME)
    after = examine_log(database)
    assert after is not None
    stage.system.start()
    named = _named(stage)
    again = stage.load.say_again((named["newest_ts"] or 0) - 60_000)
    return {
        "killed": pids[0],
        "inode": log.stat().st_ino if log.exists() else None,
        "bytes_before": size,
        "frames_before": before.frames,
        "frames_after": after.frames,
        "lost": after.lost,
        "counted_by_the_system": named["frames"],
        "corrections_sent_again": again,
    }


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
    pid = stage.system.child("vllm")
    assert pid is not None
    os.kill(pid, 9)
    return {"file": name, "at": place, "killed": pid}


def _named(stage: Stage) -> dict[str, int | None]:
    """Wait until the system has counted the loss; without a loss there is nothing to name."""
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        try:
            rows = stage.system.rows("SELECT frames, newest_ts FROM log_losses ORDER BY id DESC LIMIT 1")
            if rows:
                return dict(rows[0])
        except Exception:  # the store is not there yet, or refuses to be read before the loss is recorded
            time.sleep(0.2)
        time.sleep(0.2)
    return {"frames": None, "newest_ts": None}


def _log(stage: Stage) -> Path:
    return stage.system.home / f"{FILE_NAME}-wal"


FAULTS = (
    Fault("disk_full", "loop", disk_full),
    Fault("shared_memory_full", "vllm", shared_memory_full),
    Fault("database_locked", "loop", database_locked),
    Fault("torn_log", "system", torn_log, ("loop", "learner", "vllm")),
    Fault("cut_log", "system", cut_log, ("loop", "learner", "vllm")),
    Fault("corrupt_version", "vllm", corrupt_version, ("vllm",)),
)
