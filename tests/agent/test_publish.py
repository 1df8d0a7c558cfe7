"""The publisher: it never holds up its agent, and what it was given arrives once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from brokers import BrokerProcess, find_mosquitto
from test_loop import LoopProcess, event_ids, listening, until

from agent.publish import Publisher
from agent.spool import DROPPED, SEGMENT_BYTES, Spool
from policies.errors import ConfigError
from store import counters, dead_letters, state
from store.database import Store

ROOT = Path(__file__).parents[2]
WAIT_S = 30.0
NOBODY = "mqtt://127.0.0.1:1"

AGENT = """
import sys
from pathlib import Path
from agent.publish import Publisher

publisher = Publisher(sys.argv[1], agent=sys.argv[2], spool=Path(sys.argv[3]))
for number in range(int(sys.argv[4])):
    publisher.turn("c", "user", "x", event_id=f"e{number:03d}")
print("published", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def loop(home: Path, broker: BrokerProcess, agent_id: str) -> Iterator[LoopProcess]:
    process = LoopProcess(home, broker.url, agent_id)
    yield process
    if process.running:
        process.end(signal.SIGKILL)


def soon(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.02)


def killed_after(count: int, url: str, agent_id: str, spool: Path) -> None:
    """Run an agent that publishes some turns and is killed."""
    arguments = [sys.executable, "-c", AGENT, url, agent_id, str(spool), str(count)]
    agent = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert agent.stdout is not None
    assert agent.stdout.readline() == b"published\n"
    agent.kill()
    agent.communicate()


async def test_what_an_agent_says_becomes_rows(
    loop: LoopProcess, store: Store, each_broker: BrokerProcess, agent_id: str, spool: Path
) -> None:
    loop.environment["HEEDLOOP_BUS__URL"] = each_broker.url
    loop.start()
    await listening(loop, store)
    call = {"id": "x", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Answer in lowercase."},
        {"role": "user", "content": [{"type": "text", "text": "What is rain?"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    with Publisher(each_broker.url, agent_id, spool=spool) as publisher:
        first = publisher.messages("c", messages)
        messages += [
            {"role": "tool", "tool_call_id": "x", "content": "wet"},
            {"role": "assistant", "content": "Wet."},
        ]
        second = publisher.messages("c", messages, model="m")
        assert publisher.messages("c", messages) == []
        publisher.correction("c", second[-1], "ignored", corrected="wet.")
        assert publisher.flush(WAIT_S)
        assert publisher.state == "connected"
    await until(lambda: len(event_ids(store, agent_id)) == 5, loop)
    assert event_ids(store, agent_id) == [*first, *second]
    rows = store.rows("SELECT content, tool_calls, tool_call_id, model FROM events ORDER BY seq")
    assert [row["content"] for row in rows] == ["Answer in lowercase.", "What is rain?", "", "wet", "Wet."]
    assert (json.loads(rows[2]["tool_calls"])[0]["name"], rows[3]["tool_call_id"], rows[4]["model"]) == (
        "look",
        "x",
        "m",
    )
    await until(lambda: store.rows("SELECT 1 FROM labels WHERE labeller = 'correction'"), loop)
    assert dead_letters.recent(store) == []


async def test_kill_9_of_the_agent_and_a_missing_broker_lose_nothing(
    loop: LoopProcess, store: Store, agent_id: str, spool: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = BrokerProcess("mosquitto" if find_mosquitto() else "amqtt", tmp_path_factory.mktemp("own"))
    killed_after(300, own.url, agent_id, spool)
    own.start()
    try:
        loop.environment["HEEDLOOP_BUS__URL"] = own.url
        loop.start()
        await listening(loop, store)
        with Publisher(own.url, agent_id, spool=spool) as after:
            after.turn("c", "user", "x", event_id="e300")
            assert after.flush(WAIT_S)
        assert not list(spool.iterdir())
        expected = [f"e{number:03d}" for number in range(301)]
        await until(lambda: len(event_ids(store, agent_id)) == len(expected), loop)
        assert event_ids(store, agent_id) == expected
        loop.end()
    finally:
        own.stop()


def test_restart_of_the_broker_loses_nothing(
    spool: Path, agent_id: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    own = BrokerProcess("mosquitto" if find_mosquitto() else "amqtt", tmp_path_factory.mktemp("own"))
    own.start()
    publisher = Publisher(own.url, agent_id, spool=spool)
    try:
        publisher.turn("c", "user", "1")
        assert publisher.flush(WAIT_S)
        own.stop()
        soon(lambda: publisher.state != "connected")
        publisher.turn("c", "user", "2")
        assert publisher.waiting == 1
        own.start()
        assert publisher.flush(WAIT_S)
    finally:
        own.stop()
        publisher.close()
    assert publisher.dropped == 0


def test_two_live_publishers_share_a_folder(spool: Path, broker: BrokerProcess, agent_id: str) -> None:
    with Publisher(NOBODY, agent_id, spool=spool) as first:
        first.turn("c", "user", "1")
        with Publisher(broker.url, agent_id, spool=spool) as second:
            second.turn("c", "user", "2")
            assert second.flush(WAIT_S)
        assert first.waiting == 1
        first.close(timeout=0)
    with Publisher(broker.url, agent_id, spool=spool) as third:
        assert third.flush(WAIT_S)
    assert not list(spool.iterdir())


def test_close_leaves_on_disk_what_could_not_be_delivered(
    spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = Publisher(NOBODY, spool=spool)
    publisher.turn("c", "user", "1")
    publisher.close(timeout=0.1)
    publisher.close()
    assert publisher.turn("c", "user", "after")
    assert publisher.dropped == 1
    assert "1 records wait" in caplog.text
    left = Spool(spool, 1_000_000)
    assert left.waiting == 1
    left.close()


@pytest.mark.parametrize("content", [{1, 2}, float("nan"), b"bytes", "x" * 9_000_000, object()])
def test_nothing_that_is_said_raises(spool: Path, content: Any) -> None:
    with Publisher(NOBODY, spool=spool) as publisher:
        circle: list[Any] = []
        circle.append(circle)
        publisher.turn("c", "user", content)
        publisher.turn("c", "user", "x", circle=circle)
        assert publisher.waiting + publisher.dropped == 2
        publisher.close(timeout=0)


def test_full_disk_is_counted_and_the_agent_goes_on(
    spool: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with Publisher(NOBODY, spool=spool) as publisher:
        with monkeypatch.context() as patched:
            patched.setattr("agent.spool.os.write", refuse)
            publisher.turn("c", "user", "1")
        publisher.turn("c", "user", "2")
        assert (publisher.dropped, publisher.waiting) == (1, 1)
        assert "No space left" in caplog.text
        publisher.close(timeout=0)


def test_full_spool_drops_the_oldest_and_says_what(spool: Path) -> None:
    waiting = Spool(spool, 3 * SEGMENT_BYTES)
    for number in range(50):
        waiting.append(f"{number:02d}".encode() + b"x" * 100_000)
    kept = []
    while record := waiting.take():
        kept.append(int(record.content[:2]))
    assert kept == list(range(50 - len(kept), 50))
    assert 20 <= len(kept) < 30
    said = [json.loads(line) for line in (spool / DROPPED).read_text().splitlines()]
    assert sum(one["records"] for one in said) == waiting.dropped == 50 - len(kept)
    waiting.close()


def test_half_record_of_a_killed_process_is_left_out(spool: Path) -> None:
    spool.mkdir()
    (spool / "0.spool").write_bytes(b"whole\nhal")
    after = Spool(spool, 1_000_000)
    record = after.take()
    assert record is not None
    assert (record.content, after.take()) == (b"whole", None)
    after.done(record)
    after.sync()
    after.close()
    assert not list(spool.iterdir())


def test_messages_that_were_rewritten_are_published_again(spool: Path) -> None:
    with Publisher(NOBODY, spool=spool) as publisher:
        talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        first = publisher.messages("c", talk)
        talk[1] = {"role": "assistant", "content": "c"}
        second = publisher.messages("c", talk)
        assert second[0] == first[0]
        assert second[1] != first[1]
        assert publisher.messages("c", [*talk, {"role": "user", "content": "d"}])[0] not in second
        publisher.close(timeout=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://x"}, "bus.url"),
        ({"url": NOBODY, "agent": "a/b"}, "cannot stand in a topic"),
        ({"url": NOBODY, "spool": Path("/dev/null/x")}, "spool folder"),
    ],
)
def test_unusable_setting_is_told_at_once(settings: dict[str, Any], said: str, spool: Path) -> None:
    with pytest.raises(ConfigError, match=said):
        Publisher(**{"spool": spool, **settings})


def test_broker_of_the_running_system_is_found(
    store: Store, home: Path, spool: Path, broker: BrokerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEEDLOOP_BUS__URL", raising=False)
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    with Publisher(agent="a", spool=spool) as publisher:
        publisher.turn("c", "user", "x")
        soon(lambda: "no broker is named" in publisher.state)
        with store.write() as connection:
            state.put(connection, "broker_url", broker.url)
        assert publisher.flush(WAIT_S)


def test_refused_password_is_told_and_nothing_is_lost(
    amqtt: BrokerProcess, spool: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with Publisher(f"mqtt://nobody:wrong@127.0.0.1:{amqtt.port}", "a", spool=spool) as publisher:
        publisher.turn("c", "user", "x")
        soon(lambda: "check user and password" in publisher.state)
        assert publisher.waiting == 1
        publisher.close(timeout=0)
    assert "wrong" not in caplog.text


def test_publisher_is_light() -> None:
    heavy = ["torch", "vllm", "transformers", "numpy", "httpx", "sqlite_utils", "structlog", "aiomqtt"]
    code = f"import sys, agent.publish; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def documented_commands(port: int) -> str:
    """Return the shell commands of docs/publishing.md, for a broker on another port."""
    page = (ROOT / "docs" / "publishing.md").read_text(encoding="utf-8")
    blocks = [block.partition("```")[0] for block in page.split("```bash\n")[1:]]
    return "\n".join(block for block in blocks if "mosquitto_pub" in block).replace("1883", str(port))


async def test_mosquitto_pub_works_as_documented(
    loop: LoopProcess, store: Store, mosquitto: BrokerProcess, tmp_path: Path
) -> None:
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("mosquitto_pub is not installed")
    loop.environment["HEEDLOOP_BUS__URL"] = mosquitto.url
    loop.start()
    await listening(loop, store)
    said = {"event_id": "line-1", "conversation_id": "d", "role": "user", "content": "x"}
    (tmp_path / "turns.jsonl").write_text(json.dumps(said) + "\n")
    script = await asyncio.create_subprocess_exec(
        "bash", "-euc", documented_commands(mosquitto.port), cwd=tmp_path
    )
    assert await asyncio.wait_for(script.wait(), WAIT_S) == 0
    await until(lambda: len(event_ids(store, "coder")) == 3, loop)
    assert event_ids(store, "coder") == ["turn-1", "turn-2", "line-1"]
    assert store.rows("SELECT verdict FROM labels WHERE labeller = 'correction'")[0]["verdict"] == "ignored"
    assert counters.read(store).get("dead_letters", 0) == 0


class Model(BaseHTTPRequestHandler):
    """The two calls of the OpenAI API that the example makes."""

    def do_GET(self) -> None:
        self._answer({"data": [{"id": "m"}]})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        self._answer({"choices": [{"message": {"role": "assistant", "content": asked.upper()}}]})

    def log_message(self, *_: object) -> None: ...

    def _answer(self, body: object) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())


async def test_example_agent_is_listened_to(
    loop: LoopProcess, store: Store, broker: BrokerProcess, tmp_path: Path
) -> None:
    loop.start()
    await listening(loop, store)
    with ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = {
            **os.environ,
            "OPENAI_BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "HEEDLOOP_BUS__URL": broker.url,
            "XDG_STATE_HOME": str(tmp_path),
            "NO_PROXY": "127.0.0.1",
        }
        agent = await asyncio.create_subprocess_exec(
            *(sys.executable, str(ROOT / "examples" / "openai_agent.py"), "rain?"),
            env=environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await asyncio.wait_for(agent.communicate(b"snow?\n\n"), WAIT_S)
        server.shutdown()
    assert out == b"RAIN?\nSNOW?\n"
    await until(lambda: len(event_ids(store, "example")) == 5, loop)
    rows = store.rows("SELECT role, content FROM events ORDER BY seq")
    assert [tuple(row) for row in rows][1:] == [
        ("user", "rain?"),
        ("assistant", "RAIN?"),
        ("user", "snow?"),
        ("assistant", "SNOW?"),
    ]
