"""Salted prefixes on vLLM's own KV cache manager, without a server: who waits, who is preempted, and a vLLM
that has moved."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import pytest
import torch

from learner.live import prefix_cache
from learner.live.control import PAGE, ControlPage
from learner.live.load import LoadWords
from learner.live.prefix_cache import SaltedLookups, salt_problem

BLOCK = 16
TOKENS = list(range(4 * BLOCK + 1))


class Engine:
    """A real KV cache manager behind salted look-ups, and the requests of vLLM that go with it."""

    def __init__(self, policy: str) -> None:
        from vllm.utils.hashing import sha256
        from vllm.v1.core.kv_cache_manager import KVCacheManager
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec

        init_none_hash(sha256)
        self._hasher = get_request_block_hasher(BLOCK, sha256)
        spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)
        config = KVCacheConfig(
            num_blocks=64, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
        )
        self.manager = KVCacheManager(config, 1024, BLOCK, BLOCK)
        page = memoryview(mmap.mmap(-1, PAGE))
        self.page, self.load = ControlPage(page), LoadWords(page)
        self.page.format("0123456789abcdef", "base", 0)
        self.load.say_cache(policy)  # type: ignore[arg-type]
        SaltedLookups(self.manager, self.page, self.load, "0123456789abcdef", 2)
        self._made = 0

    def request(self, salt: str | None = None) -> Any:
        from vllm.sampling_params import SamplingParams
        from vllm.v1.request import Request

        self._made += 1
        return Request(
            request_id=str(self._made),
            prompt_token_ids=TOKENS,
            sampling_params=SamplingParams(max_tokens=9),
            pooling_params=None,
            cache_salt=salt,
            block_hasher=self._hasher,
        )

    def start(self, request: Any) -> int:
        """Look a request's prefix up and compute the rest. Returns how many tokens were found."""
        blocks, found, *_ = self.manager.get_computed_blocks(request)
        assert self.manager.allocate_slots(request, len(TOKENS) - found, found, blocks) is not None
        return int(found)


@pytest.fixture
def engine() -> Callable[[str], Engine]:
    return Engine


def test_a_request_that_waited_across_a_write_finds_nothing_older(engine: Callable[[str], Engine]) -> None:
    salted = engine("salt")
    waiting = salted.request()
    assert salted.start(salted.request()) == 0
    assert salted.start(salted.request()) == 4 * BLOCK
    salted.page.mark("base", 1)
    assert salted.start(waiting) == 0
    assert salted.start(salted.request()) == 4 * BLOCK  # what `waiting` computed is of these weights
    assert salted.load.lookups == (4 * len(TOKENS), 8 * BLOCK)


def test_a_preempted_request_comes_back_with_the_salt_of_the_moment(
    engine: Callable[[str], Engine],
) -> None:
    salted = engine("salt")
    running = salted.request()
    salted.start(running)
    salted.page.mark("base", 1)
    salted.manager.free(running)
    assert salted.start(running) == 0
    assert salted.start(salted.request()) == 4 * BLOCK


def test_a_request_keeps_the_salt_it_brings(engine: Callable[[str], Engine]) -> None:
    salted = engine("salt")
    assert [salted.start(salted.request(salt)) for salt in ("a", "b", None, "a")] == [0, 0, 0, 4 * BLOCK]


def test_bounded_goes_on_over_steps_but_not_over_a_rollback(engine: Callable[[str], Engine]) -> None:
    bounded = engine("bounded")
    found = [bounded.start(bounded.request())]
    for step in (1, 2, 3):
        bounded.page.mark("base", step)
        found.append(bounded.start(bounded.request()))
    assert found == [0, 4 * BLOCK, 4 * BLOCK, 0]
    bounded.page.mark("rolled back", 3)
    assert bounded.start(bounded.request()) == 0
    bounded.page.mark("rolled back", 3)  # the same step once more: bytes were disturbed, and put back
    assert bounded.start(bounded.request()) == 0


def test_without_the_salt_older_prefixes_are_found(engine: Callable[[str], Engine]) -> None:
    off = engine("off")
    off.start(off.request())
    off.page.mark("base", 1)
    assert off.start(off.request()) == 4 * BLOCK


def test_a_vllm_that_has_moved_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert salt_problem(BLOCK, "sha256") is None
    monkeypatch.setattr(prefix_cache, "apply_salt", lambda request, salt: None)
    assert salt_problem(BLOCK, "sha256") == "block hashes do not follow the salt"
    monkeypatch.undo()
    from vllm.v1.request import Request

    monkeypatch.delattr(Request, "update_block_hashes")
    assert "update_block_hashes" in str(salt_problem(BLOCK, "sha256"))
