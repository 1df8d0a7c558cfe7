"""vLLM's own scheduler with our additions, in this process: what it tells, and what it does when it cannot
keep prefixes apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from learner.live import scheduler as live_scheduler_module
from learner.live.control import map_page
from learner.live.load import LoadWords
from learner.live.manifest import Manifest

BLOCK = 16
TOKENS = list(range(4 * BLOCK + 1))


@pytest.fixture(scope="module")
def vllm_config(smollm2_path: Path) -> Any:
    from vllm.engine.arg_utils import EngineArgs

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        arguments = EngineArgs(
            model=str(smollm2_path),
            load_format="live",
            dtype="bfloat16",
            enforce_eager=True,
            block_size=BLOCK,
        )
        config = arguments.create_engine_config()
    config.cache_config.num_gpu_blocks = 64
    return config


@pytest.fixture
def make(
    vllm_config: Any, arena_of: Callable[..., Manifest], owner: Any, tmp_path: Path
) -> Callable[[], Any]:
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.structured_output import StructuredOutputManager

    arena_of(owner.process.pid)
    vllm_config.load_config.model_loader_extra_config = {
        "arena": str(tmp_path / "arena"),
        "prefix_cache": "salt",
    }
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=8, dtype=torch.float32)

    def scheduler() -> Any:
        return live_scheduler_module.live_scheduler(
            vllm_config=vllm_config,
            kv_cache_config=KVCacheConfig(
                num_blocks=64, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
            ),
            structured_output_manager=StructuredOutputManager(vllm_config),
            block_size=BLOCK,
            hash_block_size=BLOCK,
        )

    return scheduler


@pytest.fixture
def load(make: Callable[[], Any], tmp_path: Path) -> LoadWords:
    return LoadWords(map_page(tmp_path / "arena", write=True))


def request(name: str) -> Any:
    from vllm.sampling_params import SamplingParams
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher
    from vllm.v1.request import Request

    return Request(
        request_id=name,
        prompt_token_ids=TOKENS,
        sampling_params=SamplingParams(max_tokens=4),
        pooling_params=None,
        block_hasher=get_request_block_hasher(BLOCK, sha256),
    )


def step(scheduler: Any) -> Any:
    """Schedule a step and give every request of it a token."""
    from vllm.v1.outputs import ModelRunnerOutput

    scheduled = scheduler.schedule()
    names = list(scheduled.num_scheduled_tokens)
    output = ModelRunnerOutput(
        req_ids=names,
        req_id_to_index={name: index for index, name in enumerate(names)},
        sampled_token_ids=[[7] for _ in names],
    )
    scheduler.update_from_output(scheduled, output)
    return scheduled


def test_it_tells_its_load_and_counts_decode_steps_by_what_the_learner_did(
    make: Callable[[], Any], load: LoadWords
) -> None:
    scheduler = make()
    assert load.cache == "salt"
    scheduler.add_request(request("a"))
    assert load.requests == 1
    step(scheduler)  # the prompt: no decode step
    assert sum(s.resting + s.working for s in load.steps()) == 0
    step(scheduler)
    load.work()  # in the middle of a step: it belongs to neither kind
    step(scheduler)
    assert next((s.resting, s.working) for s in load.steps()) == (1, 0)
    step(scheduler)
    assert next((s.resting, s.working) for s in load.steps()) == (1, 1)
    assert load.requests == 0
    assert load.lookups == (len(TOKENS), 0)
    scheduler.add_request(request("b"))
    assert step(scheduler).num_scheduled_tokens == {"b": 1}
    assert load.lookups[1] == 4 * BLOCK


def test_a_request_that_goes_away_is_no_longer_counted(make: Callable[[], Any], load: LoadWords) -> None:
    from vllm.v1.request import RequestStatus

    scheduler = make()
    scheduler.add_request(request("a"))
    scheduler.finish_requests("a", RequestStatus.FINISHED_ABORTED)
    assert load.requests == 0


def test_where_prefixes_cannot_be_kept_apart_none_is_used(
    make: Callable[[], Any], load: LoadWords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_scheduler_module, "salt_problem", lambda *_: "it has moved")
    scheduler = make()
    assert load.cache == "unsound"
    for name in ("a", "b"):
        scheduler.add_request(request(name))
        assert step(scheduler).num_scheduled_tokens[name] == len(TOKENS)


def test_a_look_up_past_the_salt_ends_the_use_of_the_cache(make: Callable[[], Any], load: LoadWords) -> None:
    scheduler = make()
    del scheduler.kv_cache_manager.get_computed_blocks  # vLLM's own again, as if it called another one
    scheduler.add_request(request("a"))
    step(scheduler)
    assert load.cache == "unsound"
    scheduler.add_request(request("b"))
    assert step(scheduler).num_scheduled_tokens["b"] == len(TOKENS)
