"""The judge's protocol against a small server that speaks it (majority, bad answers, calibration), and its
honesty against a real model that is no judge.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from agent.labellers.judge import (
    Answer,
    Judge,
    RequestRefused,
    calibrate,
    client_for,
    identity,
    known_verdicts,
)
from policies.config import JudgeConfig
from policies.errors import Unreachable
from policies.labelling import Calibration

Reply = Callable[[dict[str, Any]], str | int]
"""Makes of a request what the model says, or the status of an error."""


@contextmanager
def judge_server(reply: Reply) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve chat completions made by `reply`; give the url, and the requests as they come."""
    requests: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            requests.append(body | {"authorization": self.headers["Authorization"], "path": self.path})
            made = reply(body)
            answer = {"choices": [{"message": {"content": made}}]}
            content = json.dumps(answer).encode()
            self.send_response(made if isinstance(made, int) else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", requests
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def said(verdict: str) -> str:
    return json.dumps({"evidence": "because", "verdict": verdict})


def majority(reply: Reply, votes: int) -> tuple[str, float, str]:
    async def ask(config: JudgeConfig) -> tuple[str, float, str]:
        async with client_for(config) as client:
            return await Judge(config, client).majority("user: hi", "Be brief.", "Hello.")

    with judge_server(reply) as (url, _):
        return asyncio.run(ask(JudgeConfig(url=url, votes=votes)))


def weigh(reply: Reply) -> Calibration:
    async def ask(config: JudgeConfig) -> Calibration:
        async with client_for(config) as client:
            return await calibrate(Judge(config, client), config)

    with judge_server(reply) as (url, _):
        return asyncio.run(ask(JudgeConfig(url=url, votes=1)))


def truth(body: dict[str, Any]) -> str:
    asked = json.loads(body["messages"][1]["content"])
    return next(
        said(row.verdict)
        for row in known_verdicts()
        if (row.direction, row.answer) == (asked["direction"], asked["reply"])
    )


@pytest.mark.parametrize(
    ("by_seed", "verdict", "share"),
    [
        (("ignored", "ignored", "followed"), "ignored", 2 / 3),
        (("followed", "followed", "followed"), "followed", 1.0),
        (("ignored", "followed", "unknown"), "unknown", 0.0),
        (("ignored", "not json", "ignored"), "ignored", 2 / 3),
        (("ignored", "not json", "not json"), "unknown", 0.0),
    ],
)
def test_more_than_half_of_the_votes_decide(by_seed: tuple[str, ...], verdict: str, share: float) -> None:
    found = majority(
        lambda body: said(by_seed[body["seed"]]) if by_seed[body["seed"]] != "not json" else "hm", 3
    )
    assert found[:2] == (verdict, pytest.approx(share))


def test_request_asks_for_structured_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "secret")

    async def ask(config: JudgeConfig) -> None:
        async with client_for(config) as client:
            await Judge(config, client).majority("user: hi", "Be brief.", "Hello.")

    with judge_server(lambda _: said("followed")) as (url, requests):
        asyncio.run(ask(JudgeConfig(url=url, model="big", votes=1, key_variable="JUDGE_KEY")))
    (request,) = requests
    assert request["path"] == "/v1/chat/completions"
    assert request["authorization"] == "Bearer secret"
    assert request["model"] == "big"
    assert request["response_format"]["json_schema"]["schema"] == Answer.model_json_schema()


def test_judge_that_knows_the_known_verdicts_has_a_say() -> None:
    calibration = weigh(truth)
    assert (calibration.weight, calibration.rows) == (1.0, len(known_verdicts()))
    assert calibration.data == identity(JudgeConfig(votes=1))


def test_judge_that_fails_them_has_none() -> None:
    assert weigh(lambda _: said("followed")).weight == 0.0
    assert weigh(lambda _: "I would rather talk about bees").weight == 0.0


def test_judge_that_is_not_there_is_unreachable() -> None:
    async def ask(config: JudgeConfig) -> None:
        async with client_for(config) as client:
            await Judge(config, client).majority("", "Be brief.", "Hello.")

    with judge_server(lambda _: "") as (url, _):
        pass  # the port is free again
    with pytest.raises(Unreachable, match=url):
        asyncio.run(ask(JudgeConfig(url=url)))


@pytest.mark.parametrize(
    ("status", "refused"), [(400, True), (413, True), (422, True), (401, False), (404, False), (429, False)]
)
def test_a_status_about_the_request_alone_is_a_refusal_of_it(status: int, refused: bool) -> None:
    with pytest.raises(Unreachable, match=str(status)) as error:
        majority(lambda _: status, 1)
    assert isinstance(error.value, RequestRefused) == refused


def test_known_verdicts_are_even() -> None:
    """A judge that always says the same must fail."""
    verdicts = [row.verdict for row in known_verdicts()]
    assert verdicts.count("ignored") == verdicts.count("followed") >= 12


@pytest.mark.slow
def test_real_model_of_135m_is_no_judge(smollm2_server: Any) -> None:
    config = JudgeConfig(url=smollm2_server.url, model=smollm2_server.name, votes=1, timeout_s=120)

    async def ask() -> Calibration:
        async with client_for(config) as client:
            return await calibrate(Judge(config, client), config, known_verdicts()[:8])

    assert asyncio.run(ask()).weight == 0.0
