"""Keeps cached prefixes of different weights apart, inside vLLM's engine.

A request gets its salt when its prefix is looked up, not when it arrives: one that waits across a write, or
is preempted and comes back, must find nothing older than its own first step. What running requests add to
the cache after a write keeps the salt they began with, which nobody looks up any more.

Of vLLM this needs the attributes `cache_salt`, `block_hashes`, `update_block_hashes` and
`skip_reading_prefix_cache` of a request, and that the scheduler looks prefixes up through
`KVCacheManager.get_computed_blocks`. `salt_problem` and `SaltedLookups` see whether that still holds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from learner.live.control import ControlPage
from learner.live.load import LoadWords
from policies.prefix_cache import cache_generation

_LOOKUPS = ("get_computed_blocks", "get_computed_blocks_for_connector")
_OWN = "_heedloop_own_salt"


class SaltedLookups:
    """Puts itself before the prefix look-ups of a KV cache manager, and counts what they find.

    The policy is the one that the page names at each look-up; `steps` is for `bounded`.
    """

    def __init__(self, manager: Any, page: ControlPage, load: LoadWords, generation: str, steps: int) -> None:
        self._page, self._load, self._generation, self._steps = page, load, generation, steps
        for name in _LOOKUPS:
            if hasattr(manager, name):
                setattr(manager, name, self._salted(getattr(manager, name)))

    def salt(self) -> str:
        """The salt of this moment; the generation keeps outer caches of two servers apart."""
        policy = self._load.cache
        known = policy if policy in ("bounded", "off") else "salt"
        number = cache_generation(known, self._page.epoch, self._page.floor, self._steps)
        return f"{self._generation}.{number}"

    def _salted(self, look_up: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def salted(request: Any) -> Any:
            first = not went_through(request)
            apply_salt(request, self.salt())
            found = look_up(request)
            if first and not request.skip_reading_prefix_cache:
                self._load.count_lookup(request.num_tokens, found[1])
            return found

        return salted


def apply_salt(request: Any, salt: str) -> None:
    """Append `salt` to the salt that the request came with, and hash its blocks anew where that changed."""
    if not went_through(request):
        setattr(request, _OWN, request.cache_salt or "")
    whole = f"{getattr(request, _OWN)}|{salt}"
    if request.cache_salt != whole:
        request.cache_salt = whole
        request.block_hashes.clear()
        request.update_block_hashes()


def went_through(request: Any) -> bool:
    """Whether the prefix of this request was looked up with a salt of ours."""
    return hasattr(request, _OWN)


def salt_problem(hash_block_size: int, algorithm: str) -> str | None:
    """Why this vLLM would not keep salted prefixes apart; None when it does. Tried on a request of ours."""
    try:
        from vllm.sampling_params import SamplingParams
        from vllm.utils.hashing import get_hash_fn_by_name
        from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
        from vllm.v1.request import Request

        hash_function = get_hash_fn_by_name(algorithm)
        init_none_hash(hash_function)
        request = Request(
            request_id="heedloop",
            prompt_token_ids=list(range(2 * hash_block_size)),
            sampling_params=SamplingParams(max_tokens=1),
            pooling_params=None,
            block_hasher=get_request_block_hasher(hash_block_size, hash_function),
        )
        seen = [list(request.block_hashes)]
        for salt in ("1", "2", "1"):
            apply_salt(request, salt)
            seen.append(list(request.block_hashes))
        request.skip_reading_prefix_cache = request.get_skip_reading_prefix_cache()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    unsalted, one, two, again = seen
    apart = len(one) == 2 and not set(unsalted) & set(one) and not set(one) & set(two) and one == again
    return None if apart else "block hashes do not follow the salt"
