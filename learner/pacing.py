"""The learner's manners beside a busy server: bursts of work, rests between them, at low priority.

`breathe` is called at every seam of the work: before each layer of a forward pass, after each layer of a
backward pass, after each tensor of a step. Mostly it returns at once; at the end of a burst it looks at the
server's load words and rests as long as the budget asks. Without requests it never rests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from learner.live.load import LoadWords
from policies.config import ServingConfig
from policies.pacing import DecodeSteps, burst, rest_after, slowdown, work_share

HALF_LIFE_S = 60.0
"""After so long an observed decode step counts half."""
_CPU_HALF_LIFE_S = 2.0
_SLICE_S = 0.05
"""A rest ends at most so long after the last request did."""


@dataclass(frozen=True)
class Pace:
    """How the learner gets on: the share of its time that it may work, the slowdown that it measured, the
    share of a CPU that it got while it worked, and since when (UTC seconds) it has been starved.
    """

    share: float
    slowdown: float | None
    cpu: float
    starved_since: float | None


class Pacer:
    """Decides when to rest. Clocks and `sleep` are in seconds; `settle` waits for queued GPU work."""

    def __init__(
        self,
        config: ServingConfig,
        *,
        settle: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        cpu_clock: Callable[[], float] = time.process_time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._config, self._settle = config, settle
        self._clock, self._cpu_clock, self._sleep = clock, cpu_clock, sleep
        self._load: LoadWords | None = None
        self._began: float | None = None
        self._scarce_since: float | None = None
        self._cpu_began = 0.0
        self._burst_s = burst(None)
        self._seen: tuple[DecodeSteps, ...] = ()
        self._steps: tuple[DecodeSteps, ...] = ()
        self._looked = clock()
        self._share, self._cpu = 1.0, 1.0

    def attach(self, load: LoadWords | None) -> None:
        """Follow the load of a server from now on; None: of none."""
        self.idle()
        self._load = load
        if load is not None:
            load.rest()
            self._seen = load.steps()
        self._steps = ()

    def breathe(self) -> None:
        """Begin or go on to work, resting first where a burst is over."""
        load = self._load
        if load is None:
            return
        if self._began is None:
            self._begin(load)
        elif self._clock() - self._began >= self._burst_s:
            self._settle()
            worked = self._clock() - self._began
            self._look(load, worked)
            if self._share < 1.0:
                load.rest()
                self._rest(load, rest_after(worked, self._share))
            self._begin(load)

    def idle(self) -> None:
        """Say that there is no work."""
        self._began, self._scarce_since = None, None
        if self._load is not None:
            self._load.rest()

    def pace(self) -> Pace:
        """How the learner gets on. It is starved once its work has been scarce for the configured time."""
        scarce_s = 0.0 if self._scarce_since is None else self._clock() - self._scarce_since
        starved = scarce_s >= self._config.starved_after_s
        since = time.time() - scarce_s if starved else None
        return Pace(self._share, slowdown(self._steps), self._cpu, since)

    def paced(self, model: nn.Module) -> None:
        """Have `breathe` called before and after the work of each layer of a model."""
        for layer in _layers(model):
            layer.register_forward_pre_hook(lambda *_: self.breathe())
            layer.register_forward_hook(lambda _module, _inputs, output: self._watch_backward(output))

    def _watch_backward(self, output: Any) -> None:
        hidden = output[0] if isinstance(output, tuple) else output
        if isinstance(hidden, Tensor) and hidden.requires_grad:
            hidden.register_hook(lambda _gradient: self.breathe())

    def _begin(self, load: LoadWords) -> None:
        self._began, self._cpu_began = self._clock(), self._cpu_clock()
        load.work()

    def _rest(self, load: LoadWords, seconds: float) -> None:
        until = self._clock() + seconds
        while (left := until - self._clock()) > 0 and load.requests:
            self._sleep(min(left, _SLICE_S))

    def _look(self, load: LoadWords, worked: float) -> None:
        """Take in what the server counted since the last look, and decide."""
        now, steps = self._clock(), load.steps()
        kept = 0.5 ** ((now - self._looked) / HALF_LIFE_S)
        old = self._steps or (DecodeSteps(),) * len(steps)
        self._steps = tuple(_add(o, kept, s, b) for o, s, b in zip(old, steps, self._seen, strict=True))
        self._seen, self._looked = steps, now
        self._burst_s = burst(_step_seconds(self._steps))
        budget, floor = self._config.max_slowdown, self._config.min_work
        self._share = work_share(load.requests, slowdown(self._steps), budget, floor)
        got = (self._cpu_clock() - self._cpu_began) / worked
        self._cpu += (got - self._cpu) * (1.0 - 0.5 ** (worked / _CPU_HALF_LIFE_S))
        if self._share > floor and self._cpu > floor:
            self._scarce_since = None
        elif self._scarce_since is None:
            self._scarce_since = now


def pausing(write: Callable[[str, Tensor], None], pacer: Pacer) -> Callable[[str, Tensor], None]:
    """`write`, with a seam after each tensor."""

    def written(name: str, value: Tensor) -> None:
        write(name, value)
        pacer.breathe()

    return written


def calm_stream(device: torch.device) -> AbstractContextManager[object]:
    """Put this thread's GPU work on a stream of the lowest priority; does nothing on a CPU."""
    if device.type != "cuda":
        return nullcontext()
    lowest, _ = torch.cuda.Stream.priority_range()
    return torch.cuda.stream(torch.cuda.Stream(device, priority=lowest))


def settling(device: torch.device) -> Callable[[], None]:
    """What waits until the queued work is done, so that a rest is one."""
    if device.type != "cuda":
        return lambda: None
    return lambda: torch.cuda.current_stream(device).synchronize()


def _layers(model: nn.Module) -> Iterator[nn.Module]:
    """The decoder layers of a model: its longest list of modules."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    yield from max(lists, key=len, default=())


def _add(old: DecodeSteps, kept: float, now: DecodeSteps, before: DecodeSteps) -> DecodeSteps:
    return DecodeSteps(
        old.resting * kept + now.resting - before.resting,
        old.resting_s * kept + now.resting_s - before.resting_s,
        old.working * kept + now.working - before.working,
        old.working_s * kept + now.working_s - before.working_s,
    )


def _step_seconds(steps: tuple[DecodeSteps, ...]) -> float | None:
    count = sum(s.resting + s.working for s in steps)
    return sum(s.resting_s + s.working_s for s in steps) / count if count else None
