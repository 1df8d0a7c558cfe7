"""Who labels rows that are not in a store: every labeller that the configuration has, one case at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.labellers import judge as judging
from agent.labellers.embedding import Embedding, is_installed
from agent.language import detect_language
from agent.reading import default_labellers
from policies.config import Config
from policies.constraints import Detect
from policies.label import Label
from policies.labelling import Calibration, Case, Judgement, Labeller, ReactionLabeller, judge
from policies.labelling.fusion import LABEL_ABOVE
from store import calibrations
from store.database import FILE_NAME, open_read_only
from store.home import home_of


@dataclass(frozen=True)
class Bench:
    """Labellers, how far each is believed, and from which confidence a verdict is given."""

    labellers: Sequence[Labeller]
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)
    label_above: float = LABEL_ABOVE

    def judge(self, case: Case) -> Judgement:
        """Label one case."""
        return judge(case, self.labellers, calibrations=self.calibrations, label_above=self.label_above)


def plain_bench(detect: Detect | None) -> Bench:
    """Return the labellers that need no I/O, as they come."""
    return Bench(default_labellers(detect))


@contextmanager
def open_bench(config: Config) -> Iterator[Bench]:
    """Give everybody whom the configuration has, with the calibrations of its store where there is one."""
    labellers = list(default_labellers(detect_language))
    believed = _stored_calibrations(config)
    with Embedding() as embedding, asyncio.Runner() as runner:
        if config.labels.meaning == "auto" and is_installed():
            labellers.append(ReactionLabeller(detect_language, embedding.vector))
        client = judging.client_for(config.judge) if config.judge.url else None
        try:
            if client is not None:
                model = judging.Judge(config.judge, client)
                believed = {**believed, judging.NAME: _measured(runner, config, model, believed)}
                labellers.append(_WaitingJudge(runner, model))
            yield Bench(labellers, believed, config.labels.label_above)
        finally:
            if client is not None:
                runner.run(client.aclose())


@dataclass(frozen=True)
class _WaitingJudge:
    """The judge as a labeller that is waited for."""

    runner: asyncio.Runner
    model: judging.Judge
    name: str = judging.NAME

    def vote(self, case: Case) -> list[Label]:
        return self.runner.run(self.model.vote(case))


def _measured(
    runner: asyncio.Runner, config: Config, model: judging.Judge, believed: Mapping[str, Calibration]
) -> Calibration:
    """Return the judge's calibration. Raises Unreachable: who configures a judge wants to know."""
    known = believed.get(judging.NAME)
    if known is not None and known.data == judging.identity(config.judge):
        return known
    return runner.run(judging.calibrate(model, config.judge))


def _stored_calibrations(config: Config) -> dict[str, Calibration]:
    home = home_of(config)
    if not (home / FILE_NAME).exists():
        return {}
    store = open_read_only(home)
    try:
        return calibrations.in_force(store.connection)
    finally:
        store.close()
