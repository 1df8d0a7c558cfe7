"""The routes on a real socket and a real store: what they tell, and whom they let change something."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent import http
from agent.http_guard import Guard
from agent.ingest import Ingest
from agent.listening import listen
from agent.metrics import Meters
from policies.config import Config, LimitConfig
from policies.errors import ConfigError
from policies.parsing import rejected
from store import state, steps
from store.database import Store
from store.processes import record_process


class BusState:
    """Stands for what the bus says of itself."""

    value = "connected"

    def __call__(self) -> str:
        return self.value


TOKEN = "t0ken-of-this-test"
LIMITS = LimitConfig(request_bytes=2_048, requests_per_minute=20)
BEARER = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


@pytest.fixture
def orders(store: Store) -> http.Orders:
    """The orders of a loop, on the test's own store and thread."""
    ingest = Ingest(store, Config(), None)

    async def correct(payload: bytes) -> str:
        return ingest.correction("a", payload, "http")

    async def command(payload: dict[str, Any]) -> str:
        return ingest.command("a", payload, "http")

    async def bury(reason: str, payload: bytes) -> None:
        ingest.keep("a", [], [rejected("request", reason, payload)], "http")

    return http.Orders(correct, command, bury)


@pytest.fixture
def bus_state() -> BusState:
    return BusState()


@pytest.fixture
async def client(
    home: Path, store: Store, bus_state: BusState, orders: http.Orders
) -> AsyncIterator[httpx.AsyncClient]:
    with listen("127.0.0.1", 0, "http") as listening:
        app = http.make_app(home, bus_state, Guard(TOKEN, LIMITS), Meters(home, bus_state), orders)
        serving = asyncio.create_task(http.serve(app, listening))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        transport = httpx.AsyncHTTPTransport(retries=20)
        async with httpx.AsyncClient(base_url=url, transport=transport, timeout=20) as connected:
            yield connected
        serving.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await serving


def lines(text: str) -> set[str]:
    return {line for line in text.splitlines() if not line.startswith("#")}


async def test_ready_only_when_server_learner_and_bus_are(
    client: httpx.AsyncClient, store: Store, bus_state: BusState
) -> None:
    record_process(store, "vllm", "ready", 1)
    record_process(store, "learner", "restarting", 2)
    bus_state.value = "waiting"
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "reasons": ["learner is restarting", "bus is waiting"]}
    record_process(store, "learner", "ready", 3)
    bus_state.value = "connected"
    answer = await client.get("/readyz")
    assert answer.json()["reasons"] == ["learner is not attached to the live weights yet"]
    with store.write() as connection:
        state.put(connection, "learner", {"pid": 3, "ready": True})
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "reasons": []})


async def test_metrics_count_what_the_store_holds(client: httpx.AsyncClient, store: Store) -> None:
    turns = [
        {"event_id": "1", "role": "system", "content": "Answer in one sentence."},
        {"event_id": "2", "role": "user", "content": "What is rain?"},
        {"event_id": "3", "role": "assistant", "content": "Rain is water. It falls. It is wet."},
    ]
    ingest = Ingest(store, Config(), None)
    ingest.turns("a", {"conversation_id": "c", "turns": turns}, "mqtt")
    ingest.turns("a", {"conversation_id": "c", "turns": turns}, "mqtt")
    ingest.turns("a", b"nonsense", "mqtt")
    record_process(store, "vllm", "ready", 1, restarts=4)
    with store.write() as connection:
        example = connection.execute("SELECT id FROM examples").fetchone()["id"]
        connection.execute(
            "INSERT INTO versions (id, kind, moments, fingerprint, state, created)"
            " VALUES ('v', 'base', 'fresh', 'f', 'good', 1)"
        )
        rows = [("correction", example), ("general", example), ("twin", example), ("correction", example)]
        step = steps.begin(connection, "v", 1e-4, rows)
        steps.confirm(connection, step, loss=1, row_losses=[1] * 4, seconds=1, changed_bytes=1, detail={})
        connection.execute("INSERT INTO probes VALUES (1, 1, 'v', 'accept', '', 1.0, 1)")
        connection.execute("INSERT INTO probe_values VALUES (1, 'facts', 0.75, '{}')")
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert {
        "heedloop_turns_total 3.0",
        "heedloop_dead_letters_total 1.0",
        'heedloop_decisions{verdict="ignored"} 1.0',
        'heedloop_decisions{verdict="unknown"} 0.0',
        'heedloop_examples{state="correction_ready"} 1.0',
        'heedloop_steps{state="confirmed"} 1.0',
        "heedloop_replay_share 0.25",
        'heedloop_probe{probe="facts"} 0.75',
        'heedloop_queue_depth{queue="examples_ready"} 1.0',
        'heedloop_counted{what="turns_duplicate"} 3.0',
        'heedloop_child_restarts_total{process="vllm"} 4.0',
        "heedloop_bus_connected 1.0",
    } <= lines(answer.text)


async def test_metrics_of_an_empty_store(client: httpx.AsyncClient) -> None:
    found = lines((await client.get("/metrics")).text)
    assert "heedloop_turns_total 0.0" in found
    absent = ("heedloop_replay_share", "heedloop_probe{", "heedloop_step_loss", "heedloop_version_age")
    assert not any(line.startswith(absent) for line in found)


async def test_unknown_path_and_method_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"alive": True}
    assert (await client.get("/secrets")).status_code == 404
    assert (await client.post("/healthz", headers=BEARER)).status_code == 405


def test_taken_port_is_one_clear_line() -> None:
    with listen("127.0.0.1", 0, "http") as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port} .*http.port"):
            listen("127.0.0.1", port, "http")


async def test_a_correction_needs_the_token(client: httpx.AsyncClient, store: Store) -> None:
    said = {"event_id": "k", "conversation_id": "c", "turn_event_id": "t", "verdict": "ignored"}
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
        answer = await client.post("/v1/corrections", json=said, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"
    assert store.rows("SELECT * FROM corrections") == []
    answer = await client.post("/v1/corrections", json=said, headers=BEARER)
    assert (answer.status_code, answer.json()) == (202, {"outcome": "waiting"})
    (row,) = store.rows("SELECT * FROM corrections")
    assert (row["event_id"], row["source"]) == ("k", "http")
    assert (await client.post("/v1/corrections", json=said, headers=BEARER)).json() == {
        "outcome": "duplicate"
    }


@pytest.mark.parametrize("name", http.COMMANDS)
async def test_a_command_is_kept_for_the_learner(client: httpx.AsyncClient, store: Store, name: str) -> None:
    answer = await client.post(f"/v1/{name}", json={}, headers=BEARER)
    assert answer.status_code == 202
    (row,) = store.rows("SELECT * FROM commands")
    assert (row["event_id"], row["command"], row["state"]) == (answer.json()["event_id"], name, "waiting")


async def test_a_command_sent_again_with_its_event_id_counts_once(
    client: httpx.AsyncClient, store: Store
) -> None:
    order = {"event_id": "k", "to": "v1"}
    first = await client.post("/v1/rollback", json=order, headers=BEARER)
    assert (first.status_code, first.json()) == (202, {"outcome": "waiting", "event_id": "k"})
    again = await client.post("/v1/rollback", json=order, headers=BEARER)
    assert (again.status_code, again.json()) == (200, {"outcome": "duplicate", "event_id": "k"})
    (row,) = store.rows("SELECT * FROM commands")
    assert (row["event_id"], row["args"]) == ("k", '{"to": "v1"}')
    for wrong in ("", 7, None):
        answer = await client.post("/v1/rollback", json={"event_id": wrong}, headers=BEARER)
        assert (answer.status_code, answer.json()["outcome"]) == (422, "rejected")
    assert len(store.rows("SELECT * FROM commands")) == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "rebound.example"}, 403),
        ({"Host": "127.0.0.1.rebound.example:80"}, 403),
        ({"Host": "localhost:1234"}, 200),
        ({"Host": "[::1]:1234"}, 200),
        ({"Host": "["}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_other_hosts_and_origins_see_nothing(
    client: httpx.AsyncClient, headers: dict[str, str], status: int
) -> None:
    assert (await client.get("/healthz", headers=headers)).status_code == status
    assert (await client.post("/v1/pause", headers=BEARER | headers, json={})).status_code == (
        403 if status == 403 else 202
    )


async def test_what_a_form_of_a_web_page_can_send_is_refused(client: httpx.AsyncClient, store: Store) -> None:
    kind = BEARER | {"Content-Type": "text/plain"}
    assert (await client.post("/v1/pause", headers=kind, content=b"{}")).status_code == 415
    assert store.rows("SELECT * FROM commands") == []


@pytest.mark.parametrize("path", ["/v1/corrections", "/v1/pause"])
async def test_a_body_over_the_limit_is_refused_before_it_is_read_to_its_end(
    client: httpx.AsyncClient, store: Store, path: str
) -> None:
    answer = await client.post(path, headers=BEARER, content=b" " * 3_000)
    assert (answer.status_code, "request_bytes" in answer.json()["error"]) == (413, True)
    assert store.rows("SELECT * FROM dead_letters") == []


async def test_an_unreadable_body_is_a_dead_letter(client: httpx.AsyncClient, store: Store) -> None:
    assert (await client.post("/v1/corrections", headers=BEARER, content=b"{")).status_code == 422
    assert (await client.post("/v1/rollback", headers=BEARER, content=b"{")).status_code == 422
    assert (await client.post("/v1/rollback", headers=BEARER, content=b"[]")).status_code == 422
    assert len(store.rows("SELECT * FROM dead_letters")) == 2
    assert store.rows("SELECT * FROM commands") == []


async def test_too_many_requests_are_told_so(client: httpx.AsyncClient) -> None:
    answers = [(await client.post("/v1/pause", headers=BEARER, json={})).status_code for _ in range(22)]
    assert answers[:20] == [202] * 20
    assert 429 in answers[20:]
