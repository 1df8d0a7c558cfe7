"""Which cached prefixes a request may use after the weights have changed.

A cached prefix is the keys, values and recurrent states that earlier requests computed. The server keys them
by tokens and a salt; the number here goes into the salt, so that only requests with the same number share.
"""

from __future__ import annotations

from typing import Literal

PrefixCache = Literal["salt", "bounded", "off", "none"]
"""`salt`: only prefixes of the very weights in force; `bounded`: at most some steps old; `off`: of any age,
which is stale; `none`: the server caches no prefix at all."""


def cache_generation(policy: PrefixCache, epoch: int, floor: int, steps: int) -> int:
    """Return the number that requests must agree on to share prefixes.

    `epoch` counts the writes so far; at `floor` was the last one that was no further training step (a
    rollback, a repair, a new durable version): nothing older is ever used, but with `off`. Under
    `bounded` a prefix is at most `steps` writes older than the weights in force. A floor ahead of the
    epoch belongs to a write that is just being marked.
    """
    if policy == "off":
        return 0
    if policy == "bounded" and floor <= epoch:
        return epoch - (epoch - floor) % (steps + 1)
    return epoch
