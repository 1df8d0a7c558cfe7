"""`run.py labels`: review with one key each, label again, calibrate."""

from __future__ import annotations

import asyncio
import io
import os
import pty
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from agent.ingest import Ingest
from agent.relabelling import ENOUGH, label_again, own_calibrations
from agent.verbs.labels import review_labels
from policies.config import BusConfig, Config, LabelConfig, TrustConfig
from policies.labelling import Calibration
from store import calibrations, history, labels
from store.database import Store

CONFIG = Config(labels=LabelConfig(meaning="off"))
RUN = Path(__file__).parents[2] / "run.py"
DEADLINE_S = 60.0
UNSURE = "that's not what I asked for!!"


def told(store: Store, conversation: str, reaction: str = UNSURE) -> Ingest:
    """Ingest a short conversation that ends with a reaction."""
    ingest = Ingest(store, CONFIG, None)
    spoken = (("user", "Be polite."), ("assistant", "It is."), ("user", reaction))
    turns = [
        {"event_id": f"{conversation}{n}", "conversation_id": conversation, "role": role, "content": text}
        for n, (role, text) in enumerate(spoken)
    ]
    ingest.turns("a", {"conversation_id": conversation, "turns": turns}, "mqtt")
    return ingest


def keys(typed: str) -> Iterator[str]:
    yield from typed
    while True:
        yield ""


def review(store: Store, typed: str, config: Config = CONFIG) -> tuple[int, str]:
    page = Console(file=io.StringIO(), width=100)
    source = keys(typed)
    given = review_labels(config, store, page, lambda: next(source))
    assert isinstance(page.file, io.StringIO)
    return given, page.file.getvalue()


def corrections(store: Store) -> list[tuple[str, str, str]]:
    rows = store.rows("SELECT turn_event_id, verdict, direction FROM corrections ORDER BY rowid")
    return [tuple(row) for row in rows]


def test_one_key_is_an_explicit_correction(store: Store) -> None:
    told(store, "c")
    given, page = review(store, "xi")  # a key without meaning is passed over
    assert given == 1
    assert corrections(store) == [("c1", "ignored", "Be polite.")]
    assert {label.labeller for label in labels.of(store.connection, "c1#0")} == {"correction"}
    for shown in ("It is.", UNSURE, "Be polite.", "reaction: ignored"):
        assert shown in page


def test_a_review_is_the_owners_word_on_a_shared_bus_too(store: Store) -> None:
    shared = {"bus": BusConfig(url="mqtt://broker.example"), "trust": TrustConfig(quota=1)}
    for conversation in "cde":
        told(store, conversation)
    assert review(store, "iii", CONFIG.model_copy(update=shared))[0] == 3
    rows = store.rows("SELECT DISTINCT state, source FROM corrections")
    assert [tuple(row) for row in rows] == [("applied", "cli")]


def test_a_review_that_is_held_is_not_counted_as_given(store: Store) -> None:
    told(store, "c")
    strict = {"bus": BusConfig(agent="a"), "trust": TrustConfig(untrusted=("source:cli",))}
    given, page = review(store, "i", CONFIG.model_copy(update=strict))
    assert (given, [row["state"] for row in store.rows("SELECT state FROM corrections")]) == (0, ["held"])
    assert "held, not applied" in page


def test_what_is_corrected_is_not_asked_about_again(store: Store) -> None:
    told(store, "c")
    told(store, "d")
    assert review(store, "fs")[0] == 1
    assert review(store, "i")[0] == 1
    assert review(store, "i") == (0, "nothing is uncertain\n")


def test_stopping_keeps_what_was_said(store: Store) -> None:
    for conversation in "cde":
        told(store, conversation)
    assert review(store, "iq")[0] == 1
    assert len(corrections(store)) == 1


def test_review_on_a_terminal(home: Path, store: Store) -> None:
    told(store, "c")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "HEEDLOOP_HOME": str(home), "TERM": "dumb"}
    process = subprocess.Popen(
        [sys.executable, str(RUN), "labels", "review"],
        stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=home,
    )  # fmt: skip
    os.close(theirs)
    shown, deadline = "", time.monotonic() + DEADLINE_S
    try:
        while "uit" not in shown and time.monotonic() < deadline:
            shown += os.read(ours, 4096).decode(errors="replace")
        os.write(ours, b"i")
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    assert corrections(store) == [("c1", "ignored", "Be polite.")]


def test_labels_made_again_keep_what_was_said_before(store: Store) -> None:
    told(store, "c")
    (before,) = labels.of(store.connection, "c1#0")
    with store.write() as connection:
        labels.replace(connection, "c1#0", [before.model_copy(update={"verdict": "followed"})])
    assert asyncio.run(label_again(store, CONFIG)) == {"decisions": 1, "labels_replaced": 1}
    assert labels.of(store.connection, "c1#0") == [before]
    kept = [(row["kind"], row["verdict"]) for row in labels.history(store.connection, "c1#0")]
    assert kept == [("labels", "ignored"), ("labels", "followed")]
    assert asyncio.run(label_again(store, CONFIG))["labels_replaced"] == 0


def correct(ingest: Ingest, conversation: str, verdict: str) -> None:
    ingest.correction(
        "a",
        {
            "event_id": f"k{conversation}",
            "conversation_id": conversation,
            "turn_event_id": f"{conversation}1",
            "verdict": verdict,
        },
        "cli",
    )


def test_corrections_calibrate_the_labellers_they_bear_on(store: Store) -> None:
    """A labeller that is wrong as often as right loses its confidence; with few corrections nothing moves."""
    for number in range(ENOUGH):
        conversation = f"c{number:02}-"
        correct(told(store, conversation), conversation, "ignored" if number % 2 else "followed")
        if number == 3:
            assert own_calibrations(store, CONFIG) == ([], {"reaction": 4})
    fitted, too_few = own_calibrations(store, CONFIG)
    assert [(one.labeller, one.rows, too_few) for one in fitted] == [("reaction", ENOUGH, {})]
    assert fitted[0].calibrated(0.85) < 0.75


def test_review_without_a_terminal_is_one_clear_line(home: Path, store: Store) -> None:
    done = subprocess.run(
        [sys.executable, str(RUN), "labels", "review"],
        env={**os.environ, "HEEDLOOP_HOME": str(home)}, stdin=subprocess.DEVNULL, capture_output=True,
        text=True, check=False, cwd=home,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "terminal" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_show_gives_every_vote_with_its_evidence(store: Store) -> None:
    told(store, "c")
    found = history.show(store, "c1#0")
    assert [(turn["role"], turn["content"]) for turn in found["context"]] == [("user", "Be polite.")]
    assert [direction["text"] for direction in found["directions"]] == ["Be polite."]
    (vote,) = found["votes"]
    assert (vote["labeller"], vote["verdict"], vote["direction"]) == ("reaction", "ignored", "Be polite.")
    assert UNSURE in vote["evidence"]


def test_calibration_in_the_store_is_used_from_then_on(store: Store) -> None:
    told(store, "c")
    (before,) = labels.of(store.connection, "c1#0")
    with store.write() as connection:
        calibrations.put(connection, Calibration(labeller="reaction", slope=0.0, intercept=-2.0))
    asyncio.run(label_again(store, CONFIG))
    (after,) = labels.of(store.connection, "c1#0")
    assert (before.verdict, after.verdict) == ("ignored", "unknown")
    assert after.evidence.startswith("not sure enough: ignored 0.12 by reaction")
