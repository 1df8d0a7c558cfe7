"""Cached prefixes and changing weights, on real servers: what is stale, and that nobody gets it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from learner.live.client import LiveWeights
from learner.live.control import map_page
from learner.live.load import LoadWords

SERVERS = {
    "smollm2_server": "model.layers.3.self_attn.v_proj.weight",
    "qwen35_server": "model.layers.0.linear_attn.in_proj_qkv.weight",
}
LENGTHS = {"smollm2": 300}
"""Tokens of a prompt, some blocks of the cache: those of a hybrid are long, but it is tiny."""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def changed(request: pytest.FixtureRequest, server: Any) -> Iterator[Callable[..., None]]:
    """Write a parameter that cached state is computed from, scaled; bit for bit back at the end."""
    name = SERVERS[request.node.callspec.params["server"]]
    live = LiveWeights.attach(server.arena)
    position, value = live.position(), live.read(name)

    def scale(factor: float, version: str = position.version) -> None:
        at = live.position()
        with live.publishing(version, at.step + 1):
            live.write(name, value.float() * factor)

    yield scale
    with live.publishing(position.version, position.step):
        live.write(name, value)
    live.close()


def prompt(server: Any, seed: int) -> list[int]:
    tokens = LENGTHS.get(server.name, 900)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(100, 20_000, (tokens,), generator=generator).tolist()


def first_logprob(server: Any, tokens: list[int], **body: Any) -> float:
    request = {"model": server.name, "prompt": tokens, "temperature": 0, "max_tokens": 1, "logprobs": 1}
    reply = httpx.post(f"{server.url}/v1/completions", json=request | body, timeout=120, trust_env=False)
    reply.raise_for_status()
    return float(reply.json()["choices"][0]["logprobs"]["token_logprobs"][0])


def found_tokens(server: Any) -> int:
    return LoadWords(map_page(server.arena)).lookups[1]


def test_no_cached_token_of_older_weights_is_used(server: Any, changed: Callable[..., None]) -> None:
    tokens = prompt(server, 1)
    with policy(server, "salt"):
        before = [first_logprob(server, tokens) for _ in range(3)][-1]  # hybrid ones share from the third on
        found = found_tokens(server)
        assert first_logprob(server, tokens) == before
        assert found_tokens(server) > found, "the prefix was not cached at all: nothing is shown"
        changed(1.5)
        after = first_logprob(server, tokens)
        fresh = first_logprob(server, tokens, cache_salt="never used before")
    assert after == fresh
    assert abs(after - before) > 0.01, "the change is not seen in this answer: nothing is shown"


def test_without_the_salt_the_stale_token_is_seen(server: Any, changed: Callable[..., None]) -> None:
    """The control of the test above: the same with the policy `off` gives a stale answer."""
    tokens = prompt(server, 2)
    with policy(server, "off"):
        for _ in range(3):
            first_logprob(server, tokens)
        changed(4.0)
        stale = first_logprob(server, tokens)
        fresh = first_logprob(server, tokens, cache_salt="never used before")
    assert stale != fresh
    assert abs(stale - fresh) > 0.001


def test_bounded_prefixes_are_at_most_so_many_steps_old(server: Any, changed: Callable[..., None]) -> None:
    tokens = prompt(server, 3)
    changed(1.0)
    old = [first_logprob(server, tokens) for _ in range(3)][-1]
    seen = []
    for _ in range(8):
        changed(1.5)
        fresh = first_logprob(server, tokens, cache_salt=f"fresh {len(seen)}")
        seen.append(first_logprob(server, tokens) == fresh)
    assert abs(old - fresh) > 0.01
    assert not all(seen), "no older prefix was ever used: nothing is shown"
    oldest = max(len(run) for run in "".join("f" if s else "o" for s in seen).split("f"))
    assert oldest <= 4


def test_a_rollback_leaves_no_bounded_prefix_behind(server: Any, changed: Callable[..., None]) -> None:
    tokens = prompt(server, 4)
    changed(1.5)
    for _ in range(3):
        first_logprob(server, tokens)
    changed(1.0, "rolled back")
    assert first_logprob(server, tokens) == first_logprob(server, tokens, cache_salt="fresh after all")


class policy:
    """The policy of a running server for the time of the block: it is a word of the control page."""

    def __init__(self, server: Any, name: str) -> None:
        self._load = LoadWords(map_page(Path(server.arena), write=True))
        self._name = name

    def __enter__(self) -> None:
        self._before = self._load.cache
        assert self._before == "bounded"
        self._load.say_cache(self._name)  # type: ignore[arg-type]

    def __exit__(self, *_: object) -> None:
        self._load.say_cache(self._before)
