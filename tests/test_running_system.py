"""`run.py up`, whole and for real: it learns from the bus and from a log, and survives kill -9 of every part.

One system for the module, with the embedded broker; the tests stand in the order in which they run.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import pytest

from agent.bus import Peer
from policies.errors import ConfigError, InputError
from store import examples, history, state, steps, versions
from store.database import Store, open_read_only

RUN = Path(__file__).parent.parent / "run.py"
READY_S, RECOVERY_S = 600.0, 600.0
"""Bounds on hanging, with room for a machine that is slow and busy."""
pytestmark = pytest.mark.timeout(1800)
DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'
SETTINGS = {
    "HEEDLOOP_TRAINING__USES_PER_EXAMPLE": "1",
    "HEEDLOOP_TRAINING__START_AFTER_S": "1",
    "HEEDLOOP_TRAINING__MAX_DECISION_TOKENS": "24",
    "HEEDLOOP_GUARD__EVERY_STEPS": "4",
    # A round of two or three steps ends where the model is still upset; the guard is tested elsewhere.
    "HEEDLOOP_GUARD__FOLLOW_DROP": "0.99",
    "HEEDLOOP_GUARD__FACTS_DROP": "0.99",
    "HEEDLOOP_GUARD__LEAK": "100",
    "HEEDLOOP_GUARD__KL_TO_BASE": "100",
    "HEEDLOOP_REHEARSAL__AIM": "3",
    "HEEDLOOP_SERVER__MAX_MODEL_LEN": "512",
}


def eventually(found: Callable[[], Any], within: float, what: str) -> Any:
    """Return the first true value of `found`; fail, naming `what`, when time runs out."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        value = found()
        if value:
            return value
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen within {within:.0f} s")


def open_to_others(home: Path) -> list[str]:
    """Return what in a state folder others than its owner may read or enter; `up.log` is the test's own."""
    found = (home, *(path for path in home.rglob("*") if path.name not in ("up.log", "agent.jsonl")))
    return [str(path) for path in found if path.lstat().st_mode & 0o077]


class System:
    """One running `run.py up` and a read-only look at its store."""

    def __init__(self, home: Path) -> None:
        self.home, self.log = home, home / "agent.jsonl"
        environment = {**os.environ, **SETTINGS, "HEEDLOOP_HOME": str(home), "PYTHONSAFEPATH": "1"}
        environment["HEEDLOOP_SOURCE__WATCH"] = json.dumps([str(self.log)])
        home.mkdir(mode=0o700)
        self.output = home / "up.log"
        self.environment = environment
        self.told: list[str] = []
        service = {"NOTIFY_SOCKET": str(self._systemd()), "WATCHDOG_USEC": "2000000"}
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(RUN), "up"], env=environment | service, stdout=output, stderr=output
            )

    def _systemd(self) -> Path:
        """Listen as systemd does, for good; returns the address. What is told goes into `told`."""
        address = self.home.parent / "notify"
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        channel.bind(str(address))

        def listen() -> None:
            with channel:
                while True:
                    self.told.append(channel.recv(100).decode())

        Thread(target=listen, daemon=True).start()
        return address

    @property
    def store(self) -> Store:
        return open_read_only(self.home)

    def known(self, name: str) -> Any:
        store = self.store
        try:
            return state.get(store, name)
        finally:
            store.close()

    def ready(self) -> bool:
        assert self.process.poll() is None, self.output.read_text()[-3000:]
        try:
            url = self.known("http_url")
            return url is not None and httpx.get(f"{url}/readyz", timeout=5).status_code == 200
        except (ConfigError, httpx.HTTPError):
            return False

    def ask(self, sql: str) -> Any:
        store = self.store
        try:
            row = store.row(sql)
            return None if row is None else row[0]
        finally:
            store.close()

    def kill(self, child: str) -> int:
        pid = self.ask(f"SELECT pid FROM processes WHERE name = '{child}'")
        os.kill(pid, signal.SIGKILL)
        return int(pid)

    def back(self, child: str, before: int) -> bool:
        return self.ready() and self.ask(f"SELECT pid FROM processes WHERE name = '{child}'") != before

    def say(self, channel: str, *payloads: dict[str, Any]) -> None:
        async def publish() -> None:
            async with Peer(self.known("broker_url")) as peer:
                for payload in payloads:
                    await peer.publish("agent", channel, json.dumps(payload))  # type: ignore[arg-type]

        asyncio.run(publish())

    def answer(self) -> str:
        serving = self.known("serving")
        body = {"model": serving["model_name"], "prompt": "The capital of France is", "max_tokens": 4}
        reply = httpx.post(f"{serving['url']}/v1/completions", json={**body, "temperature": 0}, timeout=60)
        return str(reply.json()["choices"][0]["text"])

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)


@pytest.fixture(scope="module")
def system(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    assert smollm2_path.is_dir()
    running = System(tmp_path_factory.mktemp("system") / "home")
    try:
        eventually(running.ready, READY_S, "readiness")
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def conversation(question: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Return the turns of a conversation that ignored its direction, and the correction of its answer."""
    conversation_id = uuid4().hex
    said = [("system", f"You are a helpful assistant. {DIRECTION}"), ("user", question)]
    said.append(("assistant", "That is water that stands still."))
    turns = [
        {"event_id": uuid4().hex, "conversation_id": conversation_id, "role": role, "content": content}
        for role, content in said
    ]
    correction = {
        "event_id": uuid4().hex,
        "conversation_id": conversation_id,
        "turn_event_id": turns[-1]["event_id"],
        "verdict": "ignored",
        "direction": DIRECTION,
        "corrected": '{"answer": "That is water that stands still."}',
    }
    return turns, correction


def all_learned(system: System, corrections: int) -> bool:
    store = system.store
    try:
        version = versions.in_force(store)
        trained = system.ask("SELECT count(DISTINCT decision_id) FROM examples WHERE origin = 'correction'")
        durable = version is not None and (version.last_step or 0) == steps.last_confirmed(store) > 0
        return trained == corrections and not examples.pending(store) and durable
    finally:
        store.close()


def test_it_learns_from_the_bus_and_from_the_log_exactly_once(system: System) -> None:
    turns, correction = conversation("What is a lake?")
    system.say("turns", {"conversation_id": turns[0]["conversation_id"], "turns": turns}, turns[0])
    system.log.write_text("".join(json.dumps(turn) + "\n" for turn in turns))
    system.say("corrections", correction, correction)
    eventually(lambda: all_learned(system, 1), RECOVERY_S, "learning the first correction")
    assert system.ask("SELECT count(*) FROM events") == 3
    assert system.ask("SELECT count(*) FROM decisions") == 1
    assert system.ask("SELECT count(*) FROM examples WHERE parent NOTNULL") == 2
    store = system.store
    found = history.show(store, str(steps.last_confirmed(store)))
    assert found["rows"][0]["direction"] == DIRECTION
    assert found["rows"][0]["sentence_event_id"] == turns[0]["event_id"]
    store.close()


def test_bad_records_are_kept_and_counted_and_the_rest_goes_through(system: System) -> None:
    good = {"event_id": uuid4().hex, "conversation_id": "bad", "role": "user", "content": "Hello"}
    unknown_role = {**good, "event_id": uuid4().hex, "role": "wizard"}
    future = {**good, "event_id": uuid4().hex, "ts": "2199-01-01T00:00:00Z"}
    before = system.ask("SELECT count(*) FROM dead_letters")
    system.say("turns", unknown_role, future, {"event_id": 7}, good)
    eventually(
        lambda: system.ask("SELECT count(*) FROM events WHERE conversation_id = 'bad'"), 30, "the good turn"
    )
    assert system.ask("SELECT count(*) FROM dead_letters") == before + 3


def test_the_history_says_which_weights_produced_a_turn(system: System) -> None:
    serving, asked = system.known("serving"), {"role": "user", "content": "Name a river."}
    body = {"model": serving["model_name"], "messages": [asked], "max_tokens": 12}
    reply = httpx.post(f"{serving['url']}/v1/chat/completions", json=body, timeout=60)
    said = reply.json()["choices"][0]["message"]["content"]
    turn = {"conversation_id": uuid4().hex, "role": "assistant", "content": said}
    by_text, by_id = {**turn, "event_id": uuid4().hex}, {**turn, "event_id": reply.json()["id"]}
    system.say("turns", by_text, by_id)

    def found(event_id: str) -> Any:
        store = system.store
        try:
            return history.show(store, event_id)["weights"]
        except InputError:  # the turn has not come yet
            return {"found_by": None}
        finally:
            store.close()

    for event_id, how in ((by_text["event_id"], "text and time"), (by_id["event_id"], "response id")):
        eventually(lambda event_id=event_id: found(event_id)["found_by"], 60, "the record of an answer")
        weights = found(event_id)
        assert weights["found_by"] == how
        assert weights["response_id"] == reply.json()["id"]
        assert weights["started_version"] == reply.headers["x-heedloop-version"]
        assert weights["ended_step"] == int(reply.headers["x-heedloop-end-step"])


def test_the_loop_killed_comes_back_and_misses_nothing(system: System) -> None:
    turns, correction = conversation("What is a river?")
    before = system.kill("loop")
    with system.log.open("a") as log:
        log.write("".join(json.dumps(turn) + "\n" for turn in turns))
    system.say("corrections", correction)
    eventually(lambda: system.back("loop", before), RECOVERY_S, "the loop's return")
    eventually(lambda: all_learned(system, 2), RECOVERY_S, "learning what came while it was down")


def test_the_learner_killed_while_it_trains_does_each_example_once(system: System) -> None:
    pairs = [conversation(f"What is pond number {number}?") for number in range(4)]
    for turns, correction in pairs:
        system.say("turns", {"conversation_id": turns[0]["conversation_id"], "turns": turns})
        system.say("corrections", correction)
    known = system.ask("SELECT ifnull(max(id), 0) FROM steps")
    eventually(lambda: system.ask("SELECT max(id) FROM steps") > known, RECOVERY_S, "a step")
    before = system.kill("learner")
    eventually(lambda: system.back("learner", before), RECOVERY_S, "the learner's return")
    eventually(lambda: all_learned(system, 6), RECOVERY_S, "the rest of the round")
    assert system.ask("SELECT count(*) FROM steps WHERE state = 'intent'") == 0
    twice = system.ask(
        "SELECT count(*) FROM (SELECT e.id FROM examples e JOIN step_rows r ON r.example_id = e.id"
        " JOIN steps s ON s.id = r.step_id WHERE r.kind = 'correction' AND s.state = 'confirmed'"
        " AND e.state = 'ready' GROUP BY e.id HAVING count(DISTINCT s.id) > e.quota)"
    )
    assert twice == 0


def test_the_server_killed_serves_what_was_learned_again(system: System) -> None:
    store = system.store
    version = versions.in_force(store)
    store.close()
    assert version is not None
    learned = system.answer()
    before = system.kill("vllm")
    eventually(lambda: system.back("vllm", before), RECOVERY_S, "the server's return")
    hashed = subprocess.run(
        [sys.executable, "-m", "learner.live.fingerprint", system.known("serving")["arena"]],
        capture_output=True,
        text=True,
        check=True,
        env=system.environment,
    )
    assert hashed.stdout.split()[-1] == version.fingerprint
    assert system.answer() == learned
    turns, correction = conversation("What is a well?")
    system.say("turns", {"conversation_id": turns[0]["conversation_id"], "turns": turns})
    system.say("corrections", correction)
    eventually(lambda: all_learned(system, 7), RECOVERY_S, "learning on the new server")


def test_pause_stops_training_but_not_listening_until_resume(system: System) -> None:
    def order(command: str) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            event_id = uuid4().hex
            async with Peer(system.known("broker_url")) as peer, asyncio.timeout(RECOVERY_S):
                await peer.publish(
                    "agent", "commands", json.dumps({"event_id": event_id, "command": command})
                )
                return await peer.reply("agent", event_id)

        return asyncio.run(ask())

    assert order("pause")["result"] == {"paused": True}
    known = system.ask("SELECT ifnull(max(id), 0) FROM steps")
    turns, correction = conversation("What is a pool?")
    system.say("turns", {"conversation_id": turns[0]["conversation_id"], "turns": turns})
    system.say("corrections", correction)
    waiting = "SELECT count(*) FROM examples WHERE origin = 'correction' AND state = 'ready'"
    eventually(lambda: system.ask(waiting) == 8, 30, "hearing a correction while paused")
    eventually(lambda: system.known("activity") == "paused", 30, "the pause")
    assert system.ask("SELECT ifnull(max(id), 0) FROM steps") == known
    assert order("resume")["ok"] is True
    eventually(lambda: all_learned(system, 8), RECOVERY_S, "learning after the resume")


def test_the_command_line_speaks_to_it(system: System) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(RUN), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=system.environment, check=False)

    now = json.loads(run("status", "--json").stdout)
    assert {p["name"]: p["state"] for p in now["processes"]}["learner"] == "ready"
    assert now["replay_share"] == 0.25
    assert now["dead_letters"]
    undone = run("rollback", "--json")
    assert undone.returncode == 0, undone.stderr
    assert json.loads(undone.stdout)["bit_for_bit"] is True
    refused = run("rollback", "--to", "nonsense")
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "no single version starts with 'nonsense'" in refused.stderr
    assert json.loads(run("history", "--json").stdout)[-1]["version"]["kind"] == "rollback"
    second = run("up")
    assert second.returncode == 2
    assert "in use by another `run.py up`" in second.stderr


def test_http_takes_orders_from_who_has_the_token_and_nobody_else_reads_the_folder(system: System) -> None:
    url, token = system.known("http_url"), (system.home / "http.token").read_text().strip()
    assert httpx.post(f"{url}/v1/pause", json={}, timeout=5).status_code == 401
    for name in ("pause", "resume"):
        headers = {"Authorization": f"Bearer {token}"}
        given = httpx.post(f"{url}/v1/{name}", json={}, headers=headers, timeout=5).json()
        sql = f"SELECT state FROM commands WHERE event_id = '{given['event_id']}'"
        eventually(lambda sql=sql: system.ask(sql) == "done", RECOVERY_S, f"{name} over HTTP")  # type: ignore[misc]
    assert open_to_others(system.home) == []


def test_sigterm_ends_it_cleanly_and_nothing_is_left(system: System) -> None:
    pids = [system.ask(f"SELECT pid FROM processes WHERE name = '{name}'") for name in ("vllm", "learner")]
    eventually(lambda: "READY=1" in system.told, 30, "telling systemd")
    assert set(system.told) == {"READY=1", "WATCHDOG=1"}
    assert system.stop() == 0, system.output.read_text()[-3000:]
    eventually(lambda: "STOPPING=1" in system.told, 30, "telling systemd of the end")
    assert system.told.count("READY=1") == system.told.count("STOPPING=1") == 1
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert system.ask("SELECT count(*) FROM processes WHERE state != 'stopped'") == 0
