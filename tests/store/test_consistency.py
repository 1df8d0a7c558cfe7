"""Every kind of damage that `run.py doctor --store` looks for, planted and found by its name."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from rows import add_decision, correction, general

from policies.errors import ConfigError
from store import examples, reviews, steps, versions
from store.damage import Damage
from store.database import FILE_NAME, Store, open_read_only, open_store
from store.home import VERSIONS
from store.inspection import inspect
from store.versions import Version
from store.write_ahead_log import examine_log

FRAME = 4096 + 24


@pytest.fixture
def sound(store: Store) -> Store:
    """A store in which everything is there once: an answer, its decision, example, step and version."""
    decision = add_decision(store)
    base = version("base", 0, None)
    with store.write() as connection:
        examples.upsert_correction_example(connection, correction("e1", decision), 1)
        examples.add_general_example(connection, general("g1"))
        versions.add(connection, base)
        step = steps.begin(connection, base.id, 1e-4, [("correction", "e1"), ("general", "g1")])
        steps.confirm(
            connection, step, loss=1.0, row_losses=[1.0, 1.0], seconds=1.0, changed_bytes=1, detail={}
        )
    folder = store.path.parent / VERSIONS
    folder.mkdir(exist_ok=True)
    (folder / "v1.version").write_bytes(b"weights")
    with store.write() as connection:
        versions.add(connection, version("v1", step, "v1.version"))
    (folder / "live.json").write_text(json.dumps({"version": "v1"}))
    return store


def version(name: str, step: int, file: str | None) -> Version:
    return versions.new_version(
        None, "base", first_step=None, last_step=step or None, file=file, fingerprint="f"
    ).model_copy(
        update={"id": name, "sha256": None if file is None else hashlib.sha256(b"weights").hexdigest()}
    )


def found(store: Store, *, learning: bool = False) -> dict[str, Damage]:
    return {one.name: one for one in inspect(store.path.parent, learning=learning)}


def plant(store: Store, *statements: str) -> None:
    """Write rows that no program of ours writes."""
    connection = sqlite3.connect(store.path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_sound_store_is_found_sound(sound: Store) -> None:
    assert found(sound) == {}


EVENT = (
    "INSERT INTO events (event_id, agent, conversation_id, role, content, tool_calls, ts, source, received)"
    " VALUES ('lone', 'a', 'c1', 'assistant', 'Hi.', '{calls}', 1, 'test', 1)"
)
CORRECTION = (
    "INSERT INTO corrections (event_id, agent, conversation_id, turn_event_id, verdict, state, received,"
    " source) VALUES ('k1', 'a', 'c1', '{turn}', 'ignored', '{state}', 1, 'mqtt')"
)
CORRECTED = (
    "INSERT INTO corrections (event_id, agent, conversation_id, turn_event_id, verdict, corrected, state,"
    " received, source) VALUES ('{name}', 'a', 'c1', 't1', '{verdict}', '{text}', 'applied', 1, 'mqtt')"
)
LABEL = (
    "INSERT INTO labels (decision_id, direction_id, verdict, confidence, labeller, evidence, created)"
    " VALUES ('t1#0', 't1/0', '{verdict}', 1, '{labeller}', '', 1)"
)
STEP = (
    "INSERT INTO steps (version_id, state, learning_rate, replay_share, intent)"
    " VALUES ('{version}', '{state}', 1, 0.25, 1)"
)
PLANTED: dict[str, tuple[str, ...]] = {
    "answer without decision": (EVENT.format(calls="[]"),),
    "tool call without decision": (
        EVENT.format(calls='[{"name": "a"}, {"name": "b"}]'),
        "INSERT INTO decisions VALUES ('lone#0', 'c1', 'lone', 0, 1)",
    ),
    "decision without answer": ("INSERT INTO decisions VALUES ('gone#0', 'c1', 'gone', 0, 1)",),
    "correction that waits for a turn that is there": (CORRECTION.format(turn="t1", state="waiting"),),
    "applied correction without decision": (CORRECTION.format(turn="gone", state="applied"),),
    "applied correction without its example": (
        "DELETE FROM examples WHERE id = 'e1'",
        CORRECTED.format(name="k1", verdict="ignored", text="hello."),
    ),
    "held, but nobody is asked": ("UPDATE examples SET state = 'held' WHERE id = 'e1'",),
    "in quarantine, but no reason is on record": (
        "UPDATE examples SET state = 'quarantined' WHERE id = 'e1'",
        "INSERT INTO quarantine (example_id, reason, created, verdict) VALUES ('e1', 'r', 1, 'released')",
    ),
    "two labels in force for one direction": (
        LABEL.format(verdict="ignored", labeller="one"),
        LABEL.format(verdict="followed", labeller="two"),
    ),
    "two examples in force for one decision": (
        "DROP INDEX examples_once",
        "INSERT INTO examples SELECT 'e2', kind, decision_id, direction, context, chosen, rejected,"
        " twin_context, weight, origin, author, state, quota, created, parent FROM examples WHERE id = 'e1'",
    ),
    "example trained more often than its quota": (
        STEP.format(version="v1", state="confirmed"),
        "INSERT INTO step_rows VALUES (2, 0, 'correction', 'e1', 1.0)",
        "UPDATE versions SET last_step = 2 WHERE id = 'v1'",
    ),
    "step without rows": (STEP.format(version="v1", state="dropped"),),
    "step row without step or example": ("INSERT INTO step_rows VALUES (1, 9, 'general', 'nothing', 1.0)",),
    "version that ends with a step that is not there": (
        "UPDATE versions SET last_step = 99 WHERE id = 'v1'",
    ),
    "confirmed steps, but no version": ("DELETE FROM versions",),
    "confirmed step that no version has": (
        STEP.format(version="v1", state="confirmed"),
        "UPDATE versions SET kind = 'train', first_step = 2, last_step = 2 WHERE id = 'v1'",
    ),
    "step neither confirmed nor undone": ("UPDATE steps SET state = 'intent'",),
    "row that points to a row that is not there": ("DELETE FROM events WHERE event_id = 't1'",),
    "version without its file": ("UPDATE versions SET file = 'gone.version' WHERE id = 'v1'",),
    "version whose file is damaged": ("UPDATE versions SET sha256 = 'another' WHERE id = 'v1'",),
    "version file that no version names": ("UPDATE versions SET state = 'dropped' WHERE id = 'v1'",),
    "live.json names another version than the store": ("DELETE FROM versions WHERE id = 'v1'",),
    "loss that was recorded": ("INSERT INTO log_losses (frames, newest_event, found) VALUES (7, 't1', 1)",),
}


@pytest.mark.parametrize("name", PLANTED)
def test_planted_damage_is_found_by_its_name_with_a_way_out(sound: Store, name: str) -> None:
    plant(sound, *PLANTED[name])
    assert name in found(sound)
    assert found(sound)[name].advice
    assert found(sound)[name].number == 1


def test_a_correction_that_is_held_must_be_asked_about(sound: Store) -> None:
    plant(sound, CORRECTION.format(turn="t1", state="held"))
    assert found(sound)["held, but nobody is asked"].ids == ("k1",)
    with sound.write() as connection:
        reviews.ask(connection, "correction", "k1", "its sender is not trusted")
        reviews.decide(connection, "correction", "k1", "refused")
    assert found(sound) == {}


@pytest.mark.parametrize(
    "harmless",
    [
        (CORRECTED.format(name="k1", verdict="ignored", text=" Hello.\n"),),
        (CORRECTED.format(name="k1", verdict="ignored", text=" "),),
        (CORRECTED.format(name="k1", verdict="followed", text="hello."),),
        (
            CORRECTED.format(name="k1", verdict="ignored", text="hello."),
            CORRECTED.format(name="k2", verdict="followed", text=""),
        ),
        (
            CORRECTED.format(name="k1", verdict="ignored", text="hello."),
            """UPDATE events SET tool_calls = '[{"name": "search"}]' WHERE event_id = 't1'""",
        ),
        (
            CORRECTED.format(name="k1", verdict="ignored", text="hello."),
            "UPDATE events SET content = '' WHERE event_id = 't1'",
        ),
    ],
    ids=["same answer", "no answer", "praise", "taken back", "tool call", "no text"],
)
def test_a_correction_that_teaches_nothing_needs_no_example(store: Store, harmless: tuple[str, ...]) -> None:
    add_decision(store)
    plant(store, *harmless)
    assert "applied correction without its example" not in found(store)


def test_what_the_guard_takes_out_and_what_is_held_is_sound_with_all_that_rehearses_it(sound: Store) -> None:
    with sound.write() as connection:
        rehearsal = correction("r1", None).model_copy(update={"origin": "rehearsal:repair", "parent": "e1"})
        examples.insert(connection, rehearsal, 1)
        examples.hold(connection, ["e1"], "an outlier")
    assert found(sound) == {}
    with sound.write() as connection:
        examples.quarantine(connection, ["r1"], "breach")
    assert found(sound) == {}
    states = sound.rows("SELECT state FROM examples WHERE kind = 'correction'")
    assert [row["state"] for row in states] == ["quarantined", "quarantined"]


def test_only_the_newest_step_of_a_running_learner_may_be_open(sound: Store) -> None:
    row = "INSERT INTO step_rows VALUES (2, 0, 'general', 'g1', 1)"
    plant(sound, STEP.format(version="v1", state="intent"), row)
    assert "step neither confirmed nor undone" not in found(sound, learning=True)
    assert "step neither confirmed nor undone" in found(sound)
    plant(sound, STEP.format(version="v1", state="intent"))
    assert found(sound, learning=True)["step neither confirmed nor undone"].ids == ("2",)


def test_a_page_that_was_overwritten_is_found(sound: Store) -> None:
    home = sound.path.parent
    sound.close()
    raw = bytearray(sound.path.read_bytes())
    pages = range(4096, len(raw), 4096)
    page = next(n for n in pages if raw[n] == 0x0D and b"Answer in lower" in raw[n : n + 4096])
    raw[page : page + 200] = b"\xa5" * 200
    sound.path.write_bytes(raw)
    assert "damaged database" in {one.name for one in inspect(home, learning=False)}
    open_store(home)  # the fixture closes its own once more


def after_a_kill(store: Store, damaged: Path, harm: Callable[[Path], None]) -> Path:
    """Copy a store as a kill of all processes leaves it, and harm the copy's log."""
    shutil.copytree(store.path.parent, damaged)
    harm(damaged / f"{FILE_NAME}-wal")
    return damaged


def cut(frames: int) -> Callable[[Path], None]:
    def harm(log: Path) -> None:
        report = examine_log(log.with_name(FILE_NAME))
        assert report is not None
        os.truncate(log, 32 + (report.frames - frames) * FRAME)

    return harm


def tear(log: Path) -> None:
    header = log.read_bytes()[:32]
    with log.open("ab") as file:
        file.write(b"\0\0\0\1\0\0\0\0" + header[16:24] + b"half a frame of a commit that never was")


def add_turns(store: Store, *names: str) -> None:
    for name in names:
        add_decision(store, name, "many")


def test_a_torn_frame_of_no_commit_is_no_loss(sound: Store, tmp_path: Path) -> None:
    home = after_a_kill(sound, tmp_path / "copy", tear)
    assert inspect(home, learning=False) == []
    opened = open_store(home)
    assert opened.rows("SELECT count(*) FROM steps")[0][0] == 1
    assert opened.rows("SELECT * FROM log_losses") == []
    opened.close()


@pytest.mark.parametrize("copied", [False, True], ids=["before a checkpoint", "behind one"])
def test_a_cut_log_is_detected_counted_and_named_once(sound: Store, tmp_path: Path, copied: bool) -> None:
    if copied:
        sound.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    add_turns(sound, *(f"more{n}" for n in range(6)))
    home = after_a_kill(sound, tmp_path / "copy", cut(8))
    (wrong,) = inspect(home, learning=False)
    assert (wrong.name, wrong.kind) == ("write-ahead log was cut", "damage")
    assert 8 <= wrong.number < 20, "those, and the rest of the commit that they were the end of"
    with pytest.raises(ConfigError, match="was cut"):
        open_read_only(home)
    opened = open_store(home)
    (loss,) = opened.rows("SELECT * FROM log_losses")
    last = opened.rows("SELECT event_id FROM events ORDER BY seq DESC")[0][0]
    assert (loss["frames"], loss["newest_event"]) == (wrong.number, last)
    assert opened.rows("SELECT value FROM counters WHERE name = 'log_frames_lost'")[0][0] == wrong.number
    assert f"{wrong.number} frames" in opened.rows("SELECT payload FROM outbox ORDER BY id DESC")[0][0]
    opened.close()
    again = open_store(home)
    assert len(again.rows("SELECT * FROM log_losses")) == 1, "said once"
    again.close()


def test_a_log_cut_before_what_a_checkpoint_copied_does_not_bring_old_pages_back(
    sound: Store, tmp_path: Path
) -> None:
    add_turns(sound, "a", "b", "c")
    sound.connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    home = after_a_kill(sound, tmp_path / "copy", cut(10))
    (wrong,) = inspect(home, learning=False)
    assert wrong.name == "write-ahead log was cut"
    opened = open_store(home)
    assert opened.rows("SELECT count(*) FROM events")[0][0] == 4, "all of them are in the database"
    assert opened.rows("PRAGMA integrity_check")[0][0] == "ok"
    assert (home / f"{FILE_NAME}-wal.cut").exists()
    opened.close()


def test_a_store_in_use_is_not_taken_for_a_cut_one(sound: Store) -> None:
    add_turns(sound, "a", "b")
    assert found(sound) == {}
    sound.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert found(sound) == {}
    add_turns(sound, "c")
    assert found(sound) == {}
