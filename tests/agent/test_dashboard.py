"""`status --watch`: what it draws, on a terminal and elsewhere."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from agent.verbs.dashboard import dashboard, sparkline
from store import examples, outbox, probes, reviews, state, steps, versions
from store.clock import now_ms
from store.database import Store
from store.processes import record_process
from store.status import summary
from store.trends import LATELY, follow, losses, per_minute, trends
from tests.store.rows import add_decision, correction

RUN = Path(__file__).parent.parent.parent / "run.py"


@pytest.fixture
def learned(store: Store) -> Store:
    """A store with processes, a decision, three steps, three checks, an alert and something held."""
    record_process(store, "vllm", "ready", 1)
    record_process(store, "learner", "restarting", 2, restarts=3)
    add_decision(store)
    with store.write() as connection:
        state.put(connection, "activity", "training")
        examples.upsert_correction_example(connection, correction("e", "t1#0"), 4)
        base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
        versions.add(connection, base)
        for loss, rate in ((1.5, 0.0), (0.75, 0.5), (0.25, 1.0)):
            step = steps.begin(connection, base.id, 1e-4, [("correction", "e")])
            steps.confirm(
                connection, step, loss=loss, row_losses=[loss], seconds=1, changed_bytes=1, detail={}
            )
            scores = {"facts": {"q": rate}, "follow": {"e": rate}}
            probes.add(
                connection,
                step_id=step,
                version_id=base.id,
                verdict="accept",
                reason="",
                seconds=1,
                scores=scores,
            )
        outbox.alert(connection, "the learner is starved \x1b[2J[/bold]")
        reviews.ask(connection, "example", "e", "over the quota")
    return store


def drawn(store: Store, width: int = 80) -> list[str]:
    """One screen as lines of text."""
    at = now_ms()
    console = Console(width=width, force_terminal=False, color_system=None, highlight=False)
    with console.capture() as capture:
        console.print(dashboard(summary(store), trends(store, at), at))
    return [line.rstrip() for line in capture.get().splitlines()]


def test_bars_go_from_the_least_to_the_greatest() -> None:
    assert sparkline([0, 1, 2, 3.5, 7]) == "▁▂▃▅█"
    assert sparkline([0.0, 0.5, 1.0, 2.0], 0, 1) == "▁▅██"
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert sparkline([]) == ""


def test_one_screen_says_everything_in_eighty_columns(learned: Store) -> None:
    lines = drawn(learned)
    text = "\n".join(lines)
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("heedloop  training")
    assert "vllm ready" in text
    assert "learner restarting (3 restarts)" in text
    assert any(line.split()[:2] == ["loss", "0.250"] and line.endswith("█▄▁") for line in lines)
    assert any(line.split()[0] == "facts" and line.endswith("1.000 ▁▅█") for line in lines)
    assert any(line.startswith("  Answer in lowercase.") and line.endswith("1.00 ▁▅█") for line in lines)
    assert any("ALERT" in line and "the learner is starved" in line and "[/bold]" in line for line in lines)
    assert "held for you  example 1" in text
    assert "\x1b" not in text


def test_an_empty_store_has_a_screen_too(store: Store) -> None:
    lines = drawn(store)
    assert lines[0].startswith("heedloop  not started")
    assert "no step yet" in lines


def test_throughput_counts_the_rows_of_each_minute(store: Store) -> None:
    with store.write() as connection:
        for number, ago in enumerate((5, 50, 70, 61 * 60)):
            connection.execute(
                "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
                " VALUES (?, 'a', 'c', 'user', '', 1, 'test', ?)",
                (str(number), 10_000_000 - ago * 1000),
            )
    found = per_minute(store, "SELECT received FROM events ORDER BY seq DESC LIMIT ?", 10_000_000)
    assert found == [0] * (LATELY - 2) + [1, 2]


def test_series_are_oldest_first(learned: Store) -> None:
    assert losses(learned) == [1.5, 0.75, 0.25]
    assert follow(learned) == {"Answer in lowercase.": [0.0, 0.5, 1.0]}


def watching(home: Path, *arguments: str, output: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "HEEDLOOP_HOME": str(home), "COLUMNS": "80", "LINES": "50", "TERM": "xterm"}
    # tests that run in the background of a shell ignore SIGINT, and so would their children
    heard = ["env", "--default-signal=INT"]
    command = [*heard, sys.executable, str(RUN), "status", "--watch", *arguments]
    return subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, env=environment)


def interrupted(running: subprocess.Popen[bytes]) -> int:
    running.send_signal(signal.SIGINT)
    return running.wait(60)


def test_without_a_terminal_each_refresh_is_a_block_of_plain_text(learned: Store, home: Path) -> None:
    running = watching(home, output=subprocess.PIPE)
    assert running.stdout is not None
    block: list[str] = []
    heads = 0
    for line in running.stdout:
        block.append(line.decode())
        heads += line.startswith(b"heedloop  training")
        if heads == 2:
            break
    assert interrupted(running) == 130
    running.stdout.close()
    text = "".join(block)
    assert "\x1b" not in text
    assert "\n\nheedloop  training" in text


def test_as_json_each_refresh_is_one_object_with_what_went_on_lately(learned: Store, home: Path) -> None:
    running = watching(home, "--json", output=subprocess.PIPE)
    assert running.stdout is not None
    first, second = (json.loads(running.stdout.readline()) for _ in range(2))
    assert interrupted(running) == 130
    running.stdout.close()
    assert first["last_step"]["loss"] == second["lately"]["losses"][-1] == 0.25


def test_a_terminal_is_redrawn_in_place(learned: Store, home: Path) -> None:
    ours, theirs = pty.openpty()
    running = watching(home, output=theirs)
    os.close(theirs)
    seen = b""
    while seen.count(b"heedloop") < 2:
        seen += os.read(ours, 65536)
    assert interrupted(running) == 130
    os.close(ours)
    between = seen.split(b"heedloop")[1]
    assert b"\x1b[1A" in between  # the cursor goes up to draw over what stood there
    assert "█▄▁".encode() in seen
