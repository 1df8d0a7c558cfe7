"""The three routes on a real socket and a real store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from agent import http
from agent.ingest import Ingest
from policies.config import Config
from policies.errors import ConfigError
from store import state, steps
from store.database import Store
from store.processes import record_process


class BusState:
    """Stands for what the bus says of itself."""

    value = "connected"

    def __call__(self) -> str:
        return self.value


@pytest.fixture
def bus_state() -> BusState:
    return BusState()


@pytest.fixture
async def client(home: Path, store: Store, bus_state: BusState) -> AsyncIterator[httpx.AsyncClient]:
    with http.listen("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(http.serve(http.make_app(home, bus_state), listening))
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
        connection.execute("INSERT INTO versions VALUES ('v', NULL, 'base', 0, 0, NULL, 'f', 'good', '', 1)")
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
    assert not any(line.startswith(("heedloop_replay_share", "heedloop_probe")) for line in found)


async def test_unknown_path_and_method_are_refused(client: httpx.AsyncClient) -> None:
    assert (await client.get("/healthz")).json() == {"alive": True}
    assert (await client.get("/secrets")).status_code == 404
    assert (await client.post("/healthz")).status_code == 405


def test_taken_port_is_one_clear_line() -> None:
    with http.listen("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot listen on 127.0.0.1:{port} .*http.port"):
            http.listen("127.0.0.1", port)
