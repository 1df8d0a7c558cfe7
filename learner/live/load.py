"""The load words of the control page: what the engine says of itself at each step, what the learner does
meanwhile. One side writes a word, the other reads it: no lock, no request, no log.

Words: 128 requests running, 129 waiting; 130 how the prefix cache is kept; 131 tokens looked up in it, 132
found; 144 turns of the learner (odd: it works, even: it rests); from 192 for each class of batch sizes
(1, 2-3, 4-7, ...) decode steps and their nanoseconds, learner resting, then working.
"""

from __future__ import annotations

from typing import Literal, get_args

from learner.live.control import PAGE
from policies.pacing import DecodeSteps
from policies.prefix_cache import PrefixCache

CacheState = PrefixCache | Literal["unsound", "silent"]
"""How prefixes are cached. `unsound`: vLLM would not let us keep them apart, so none is used; `silent`: the
server runs without our scheduler, and tells no load."""

_RUNNING, _WAITING, _CACHE, _QUERIED, _FOUND = 128, 129, 130, 131, 132
_TURN = 144
_STEPS, _CLASSES, _WIDTH = 192, 10, 4
_STATES: tuple[CacheState, ...] = ("silent", *get_args(PrefixCache), "unsound")


class LoadWords:
    """The load words of one mapped control page; all zero in a fresh one."""

    def __init__(self, page: memoryview) -> None:
        self._words = page[:PAGE].cast("B").cast("q")

    def say_requests(self, running: int, waiting: int) -> None:
        """Engine: how many requests it has."""
        self._words[_RUNNING], self._words[_WAITING] = running, waiting

    def say_cache(self, state: CacheState) -> None:
        """Engine: how it keeps cached prefixes."""
        self._words[_CACHE] = _STATES.index(state)

    def count_lookup(self, queried: int, found: int) -> None:
        """Engine: a request of `queried` tokens found `found` of them in the prefix cache."""
        self._words[_QUERIED] += queried
        self._words[_FOUND] += found

    def count_step(self, requests: int, nanoseconds: int, *, working: bool) -> None:
        """Engine: a decode step for `requests` requests took so long, while the learner rested or worked."""
        at = _STEPS + _WIDTH * min(requests.bit_length() - 1, _CLASSES - 1) + 2 * working
        self._words[at] += 1
        self._words[at + 1] += nanoseconds

    def work(self) -> None:
        """Learner: begins to work."""
        self._words[_TURN] += 1 - self._words[_TURN] % 2

    def rest(self) -> None:
        """Learner: begins to rest."""
        self._words[_TURN] += self._words[_TURN] % 2

    @property
    def turn(self) -> int:
        """How often the learner has changed between work and rest; odd while it works."""
        return self._words[_TURN]

    @property
    def requests(self) -> int:
        """Requests running or waiting in the server."""
        return self._words[_RUNNING] + self._words[_WAITING]

    @property
    def cache(self) -> CacheState:
        """How the server keeps cached prefixes."""
        return _STATES[self._words[_CACHE]]

    @property
    def lookups(self) -> tuple[int, int]:
        """Prompt tokens looked up in the prefix cache so far, and those found."""
        return self._words[_QUERIED], self._words[_FOUND]

    def steps(self) -> tuple[DecodeSteps, ...]:
        """Decode steps since the server started, one entry a class of batch sizes."""
        return tuple(self._class(_STEPS + _WIDTH * index) for index in range(_CLASSES))

    def _class(self, at: int) -> DecodeSteps:
        resting, resting_ns, working, working_ns = self._words[at : at + _WIDTH]
        return DecodeSteps(resting, resting_ns / 1e9, working, working_ns / 1e9)
