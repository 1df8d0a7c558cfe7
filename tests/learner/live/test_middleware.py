"""Every request that goes through a server leaves a record of the weights behind it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from learner.live.answer_log import Answer, AnswerLog, append
from learner.live.client import LiveWeights
from policies.answers import ANSWER_LOG, OLDER_ANSWER_LOG, answer_digest

WAIT_S = 120.0
QUESTION = [{"role": "user", "content": "Name a river."}]


def lines(folder: Path) -> list[dict[str, Any]]:
    path = folder / ANSWER_LOG
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


class Recorded:
    """What the server's log got since this was made."""

    def __init__(self, server: Any) -> None:
        self.folder = Path(server.log).parent / "answers"
        self._seen = len(lines(self.folder))

    def next(self, count: int = 1) -> list[dict[str, Any]]:
        deadline = time.monotonic() + WAIT_S
        while len(lines(self.folder)) < self._seen + count:
            assert time.monotonic() < deadline, f"the log has {lines(self.folder)[self._seen :]}"
            time.sleep(0.02)
        found = lines(self.folder)[self._seen :]
        self._seen += count
        return found


@pytest.fixture
def recorded(smollm2_server: Any) -> Recorded:
    return Recorded(smollm2_server)


@pytest.fixture
def write(smollm2_server: Any) -> Iterator[Callable[[str, int], None]]:
    """Write one tensor with its own bytes and mark them as a version and step."""
    live = LiveWeights.attach(smollm2_server.arena)
    start, name = live.position(), "model.norm.weight"

    def publish(version: str, step: int) -> None:
        with live.publishing(version, step):
            live.write(name, live.read(name))

    yield publish
    live.mark(start.version, start.step)
    live.close()


@pytest.fixture
def client(smollm2_server: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=smollm2_server.url, timeout=WAIT_S, trust_env=False) as http:
        yield http


def test_a_whole_answer_says_both_positions_and_is_found_by_id_and_text(
    client: httpx.Client, recorded: Recorded, write: Callable[[str, int], None]
) -> None:
    write("01AAA", 7)
    reply = client.post(
        "/v1/chat/completions",
        json={"model": "smollm2", "messages": QUESTION, "max_tokens": 8, "n": 2},
    )
    position = {name: reply.headers[f"x-heedloop-{name}"] for name in ("version", "step", "end-version")}
    assert position == {"version": "01AAA", "step": "7", "end-version": "01AAA"}
    (line,) = recorded.next()
    assert line["id"] == reply.json()["id"]
    assert (line["started"][:2], line["ended"][:2]) == (["01AAA", 7], ["01AAA", 7])
    texts = [choice["message"]["content"] for choice in reply.json()["choices"]]
    assert line["digests"] == [answer_digest(text) for text in texts]
    assert (line["outcome"], line["status"], line["path"]) == ("finished", 200, "/v1/chat/completions")


def test_a_stream_goes_on_across_writes_and_says_where_it_began_and_ended(
    client: httpx.Client, recorded: Recorded, write: Callable[[str, int], None]
) -> None:
    write("01BBB", 1)
    body = {"model": "smollm2", "messages": QUESTION, "max_tokens": 48, "stream": True, "temperature": 0}
    body |= {"min_tokens": 48}
    parts: list[str] = []
    with client.stream("POST", "/v1/chat/completions", json=body) as reply:
        assert reply.headers["x-heedloop-step"] == "1"
        assert "x-heedloop-end-step" not in reply.headers
        for row in reply.iter_lines():
            if row.startswith("data: {"):
                chunk = json.loads(row[6:])
                parts.append(chunk["choices"][0]["delta"].get("content") or "")
                write("01BBB", len(parts) + 1)
    (line,) = recorded.next()
    assert line["id"] == chunk["id"]
    assert line["started"][:2] == ["01BBB", 1]
    assert line["ended"][1] > 40
    text = "".join(parts)
    assert line["digests"] == [answer_digest(text)]
    assert "\ufffd" not in text
    whole = client.post("/v1/chat/completions", json=body | {"stream": False}).json()
    assert whole["choices"][0]["message"]["content"] == text  # the bytes were the same all the time
    recorded.next()


def test_who_goes_away_and_who_asks_wrongly_is_recorded_too(client: httpx.Client, recorded: Recorded) -> None:
    body = {"model": "smollm2", "prompt": "One, two,", "max_tokens": 1500, "min_tokens": 1500}
    with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as reply:
        for row in reply.iter_lines():
            if row.startswith("data: {"):
                break
    (line,) = recorded.next()
    assert (line["outcome"], line["status"]) == ("abandoned", 200)
    assert line["id"].startswith("cmpl-")
    with pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json=body, timeout=0.3)
    (line,) = recorded.next()
    assert line["outcome"] == "abandoned"
    assert client.post("/v1/completions", json={"model": "nobody", "prompt": "x"}).status_code == 404
    (line,) = recorded.next()
    assert (line["outcome"], line["status"], line["digests"]) == ("failed", 404, [])


def test_tool_calls_have_a_digest_of_their_own() -> None:
    one = answer_digest("", [("look", '{"a": 1, "b": 2}')])
    assert one == answer_digest(None, [("look", '{ "b":2, "a":1 }')])
    assert len({one, answer_digest(""), answer_digest("", [("look", "{}")]), answer_digest("look")}) == 4


def test_a_stream_is_read_as_the_whole_answer_is() -> None:
    from learner.live.answer import read_answer

    call = {"index": 0, "function": {"name": "look", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    deltas = [{"content": "O"}, {"content": "k"}, {"tool_calls": [call]}, {"tool_calls": [rest]}]
    chunks = [{"id": "chatcmpl-1", "choices": [{"index": 0, "delta": d}]} for d in deltas]
    stream = b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks)
    call = {"function": {"name": "look", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "Ok", "tool_calls": [call]}
    whole = json.dumps({"id": "chatcmpl-1", "choices": [{"index": 0, "message": message}]}).encode()
    assert read_answer(stream + b"data: [DONE]\n\n") == read_answer(whole)
    assert read_answer(stream[:-20])[0] == "chatcmpl-1"
    assert read_answer(b"") == (None, ())
    assert read_answer(b'{"object": "error"}') == (None, ())


def test_an_answer_that_cannot_be_recorded_is_said_and_the_next_one_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = AnswerLog(tmp_path)
    odd = b'{"id": "a", "choices": [{"message": "text where an object belongs"}]}'
    for body in (odd, b'{"id": "b"}'):
        log.put(Answer("/v1/x", 200, "finished", ("v", 1, 2), ("v", 1, 3), body))
    log.close()
    assert [line["id"] for line in lines(tmp_path)] == ["b"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


def test_the_log_is_private_and_bounded_and_several_may_write(tmp_path: Path) -> None:
    log = AnswerLog(tmp_path / "answers", limit=1 << 30)
    log.put(Answer("/v1/x", 200, "finished", ("v", 1, 2), ("v", 1, 3), b'{"id": "a"}'))
    log.close()
    assert [line["id"] for line in lines(tmp_path / "answers")] == ["a"]
    assert (tmp_path / "answers").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "answers" / ANSWER_LOG).stat().st_mode & 0o777 == 0o600
    path = tmp_path / ANSWER_LOG
    threads = [
        threading.Thread(target=lambda: [append(path, b"x" * 99 + b"\n", 2000) for _ in range(100)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for file in (path, tmp_path / OLDER_ANSWER_LOG):
        content = file.read_bytes()
        assert 0 < len(content) <= 2000
        assert set(content.splitlines()) == {b"x" * 99}
