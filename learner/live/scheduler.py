"""vLLM's scheduler with two additions: cached prefixes are kept apart by version, and the load is told.

`--scheduler-cls learner.live.scheduler.live_scheduler`: vLLM's own way in for schedulers. With
`--load-format live` and prefix caching the loader refuses to start without it.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vllm.logger import init_logger
from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from learner.live.control import ControlPage, map_page
from learner.live.folder import default_arena
from learner.live.load import LoadWords
from learner.live.manifest import read_manifest
from learner.live.prefix_cache import SaltedLookups, salt_problem, went_through
from policies.errors import UnsupportedModel

logger = init_logger("vllm.heedloop")


def live_scheduler(*, vllm_config: Any, **rest: Any) -> Scheduler:
    """Make the scheduler that vLLM would have taken, with our additions."""
    kind = LiveAsyncScheduler if vllm_config.scheduler_config.async_scheduling else LiveScheduler
    return kind(vllm_config=vllm_config, **rest)


class _Live(Scheduler):
    """The additions. `extra` of the load format names arena, policy and steps."""

    def __init__(self, *, vllm_config: Any, **rest: Any) -> None:
        super().__init__(vllm_config=vllm_config, **rest)
        extra = vllm_config.load_config.model_loader_extra_config or {}
        folder = Path(extra.get("arena") or default_arena())
        page = map_page(folder, write=True)
        self._load = LoadWords(page)
        self._load.say_cache("none")
        self._sound = True
        self._ended: tuple[int, int] | None = None  # when the last step ended, and the learner's turn then
        if vllm_config.cache_config.enable_prefix_caching:
            self._load.say_cache(extra.get("prefix_cache", "salt"))
            generation, steps = read_manifest(folder).generation, int(extra.get("prefix_cache_steps", 1))
            SaltedLookups(self.kv_cache_manager, ControlPage(page), self._load, generation, steps)
            problem = salt_problem(self.hash_block_size, vllm_config.cache_config.prefix_caching_hash_algo)
            if problem is not None:
                self._distrust(problem)

    def add_request(self, request: Any) -> None:
        """Take a request; while prefixes cannot be kept apart, it reads none."""
        if not self._sound:
            if not hasattr(request, "skip_reading_prefix_cache"):
                raise UnsupportedModel("live weights: start the server with --no-enable-prefix-caching")
            request.skip_reading_prefix_cache = True
        super().add_request(request)
        self._load.say_requests(*self.get_request_counts())

    def schedule(self, *args: Any, **kwargs: Any) -> Any:
        """Schedule a step; see that every new request in it was looked up with a salt."""
        output = super().schedule(*args, **kwargs)
        if self._sound and self.kv_cache_manager.enable_caching:
            for new in output.scheduled_new_reqs:
                if not went_through(self.requests[new.req_id]):
                    self._distrust("this vLLM looks prefixes up in another way")
                    break
        return output

    def update_from_output(self, scheduler_output: Any, *args: Any, **kwargs: Any) -> Any:
        """Take in a step's tokens, and count its time where nothing but decoding happened in it."""
        outputs = super().update_from_output(scheduler_output, *args, **kwargs)
        now, turn = time.monotonic_ns(), self._load.turn
        requests = len(scheduler_output.num_scheduled_tokens)
        decoding = requests and scheduler_output.total_num_scheduled_tokens == requests
        if self._ended is not None and decoding and self._ended[1] == turn:
            self._load.count_step(requests, now - self._ended[0], working=turn % 2 == 1)
        self._load.say_requests(*self.get_request_counts())
        self._ended = (now, turn) if self.get_num_unfinished_requests() else None
        return outputs

    def finish_requests(self, *args: Any, **kwargs: Any) -> Any:
        """End requests from outside (a client went away)."""
        ended = super().finish_requests(*args, **kwargs)
        self._load.say_requests(*self.get_request_counts())
        return ended

    def _distrust(self, problem: str) -> None:
        logger.error("live weights: cached prefixes are not used, they could be stale (%s)", problem)
        self._sound = False
        self._load.say_cache("unsound")
        for request in self.requests.values():
            request.skip_reading_prefix_cache = True


class LiveScheduler(_Live):
    """For synchronous engines, as on CPU."""


class LiveAsyncScheduler(_Live, AsyncScheduler):
    """For engines that schedule ahead."""
