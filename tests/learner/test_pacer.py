"""The learner's pace on a control page, with a clock of the test's own."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

import pytest
import torch

from learner.live.control import PAGE
from learner.live.load import LoadWords
from learner.pace_report import PaceReport
from learner.pacing import Pacer, calm_stream, pausing
from policies.config import ServingConfig
from store import outbox, state
from store.database import Store

STEP_S = 0.03


@dataclass
class Beside:
    """A pacer beside a server that decodes all the time, `slowdown` slower while the learner works."""

    load: LoadWords
    slowdown: float
    config: ServingConfig = field(default_factory=ServingConfig)
    now: float = 0.0
    cpu: float = 1.0
    worked: float = 0.0
    requests: int = 1
    decoded: float = 0.0

    def __post_init__(self) -> None:
        self.pacer = Pacer(
            self.config, clock=lambda: self.now, cpu_clock=lambda: self.cpu * self.worked, sleep=self.pass_
        )
        self.pacer.attach(self.load)

    def pass_(self, seconds: float) -> None:
        """Time goes by for the server, which counts its steps as the engine does."""
        working = self.load.turn % 2 == 1
        step = STEP_S * (1 + self.slowdown * working)
        self.decoded += seconds / step
        while self.decoded >= 1.0:
            self.decoded -= 1.0
            if self.requests:
                self.load.count_step(self.requests, round(step * 1e9), working=working)
        self.load.say_requests(self.requests, 0)
        self.now += seconds

    def work(self, seconds: float, quantum: float = 0.01) -> float:
        """Work for so long, with a seam after each quantum. Returns the share of time that this took."""
        began = self.now
        for _ in range(round(seconds / quantum)):
            self.pacer.breathe()
            self.pass_(quantum)
            self.worked += quantum
        return seconds / (self.now - began)


@pytest.fixture
def load() -> LoadWords:
    return LoadWords(memoryview(mmap.mmap(-1, PAGE)))


@pytest.mark.parametrize(("slows", "least", "most"), [(0.0, 0.9, 1.0), (0.1, 0.4, 0.6), (0.5, 0.49, 0.55)])
def test_under_load_the_work_takes_the_share_that_the_budget_allows(
    load: LoadWords, slows: float, least: float, most: float
) -> None:
    beside = Beside(load, slows)
    beside.work(60)
    assert least <= beside.work(60) <= most
    measured = beside.pacer.pace().slowdown
    assert measured == pytest.approx(slows, abs=0.02)


def test_without_requests_there_is_no_rest_and_a_rest_ends_with_the_last_request(load: LoadWords) -> None:
    beside = Beside(load, 5.0)
    beside.requests = 0
    assert beside.work(20) == pytest.approx(1.0)
    beside.requests = 1
    assert beside.work(20) < 0.5
    beside.requests = 0
    beside.work(1)
    assert beside.work(20) == pytest.approx(1.0)


def test_it_always_makes_progress_and_says_when_it_is_starved(load: LoadWords, store: Store) -> None:
    beside = Beside(load, 9.0, ServingConfig(min_work=0.2, starved_after_s=30))
    report = PaceReport(store, beside.pacer)
    report.tell()
    beside.work(20)
    assert beside.work(20) == pytest.approx(0.2, abs=0.03)
    report.tell()
    assert state.get(store, "pace")["starved_since"] is not None
    (alert,) = [event.payload for event in outbox.unsent(store)]
    assert "starved" in alert
    assert "900%" in alert
    beside.requests = 0
    beside.work(5)
    report.tell()
    assert state.get(store, "pace")["starved_since"] is None


def test_a_learner_that_gets_no_cpu_is_starved_too(load: LoadWords) -> None:
    beside = Beside(load, 0.0, ServingConfig(starved_after_s=10))
    beside.cpu = 0.01
    beside.work(60)
    pace = beside.pacer.pace()
    assert pace.share > 0.5
    assert pace.cpu < 0.05
    assert pace.starved_since is not None
    beside.pacer.idle()
    assert beside.pacer.pace().starved_since is None


def test_a_server_that_cannot_play_its_part_is_an_alert(load: LoadWords, store: Store) -> None:
    report = PaceReport(store, Pacer(ServingConfig()))
    for said in ("salt", "none"):
        load.say_cache(said)  # type: ignore[arg-type]
        report.tell_server(load)
    assert outbox.unsent(store) == []
    load.say_cache("unsound")
    report.tell_server(load)
    report.tell_server(LoadWords(memoryview(mmap.mmap(-1, PAGE))))
    unsound, silent = [event.payload for event in outbox.unsent(store)]
    assert "server.prefix_cache" in unsound
    assert "--scheduler-cls" in silent
    assert state.get(store, "prefix_cache")["policy"] == "silent"


def test_the_engine_is_told_when_the_learner_works(load: LoadWords) -> None:
    beside = Beside(load, 0.0)
    assert load.turn % 2 == 0
    beside.pacer.breathe()
    assert load.turn % 2 == 1
    beside.pacer.idle()
    assert load.turn % 2 == 0
    load.work()  # killed while it worked: the next one begins at rest
    Beside(load, 0.0)
    assert load.turn % 2 == 0


class _TwoLayers(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList([torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def test_each_layer_forward_and_backward_and_each_written_tensor_is_a_seam() -> None:
    seams = 0

    class Counting(Pacer):
        def breathe(self) -> None:
            nonlocal seams
            seams += 1

    pacer = Counting(ServingConfig())
    model = _TwoLayers()
    pacer.paced(model)
    output = model(torch.ones(1, 2))
    assert seams == 2
    output.sum().backward()
    assert seams == 4
    with torch.no_grad():
        model(torch.ones(1, 2))
    assert seams == 6
    written = []
    pausing(lambda name, value: written.append((name, value)), pacer)("w", torch.ones(1))
    assert (seams, written[0][0]) == (7, "w")
    with calm_stream(torch.device("cpu")):
        pass


def test_a_pacer_without_a_server_does_nothing() -> None:
    pacer = Pacer(ServingConfig(), sleep=lambda _: pytest.fail("rested"))
    pacer.breathe()
    pacer.idle()
    assert pacer.pace().share == 1.0


def test_batches_of_a_class_are_counted_together(load: LoadWords) -> None:
    for requests in (1, 2, 3, 4, 10_000):
        load.count_step(requests, 1_000_000_000, working=requests == 3)
    one, two, four, *_, last = load.steps()
    assert (one.resting, two.resting, two.working, two.working_s, four.resting) == (1, 1, 1, 1.0, 1)
    assert last.resting == 1
