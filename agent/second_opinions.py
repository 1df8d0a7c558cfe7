"""Decisions that wait for a labeller that needs I/O: sentence vectors of the next turn, a judge model.

They are asked about one by one beside the ingest, which never waits for them; their votes are added later.
Each is a row until its answer is in the store: a kill of the loop forgets none.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from agent.labellers import judge as judging
from agent.labellers.embedding import Embedding, is_installed
from agent.language import detect_language
from agent.writer import Writer
from policies.config import Config
from policies.errors import Unreachable
from policies.label import Label
from policies.labelling import Case, Judgement, ReactionLabeller
from store import calibrations, labels, opinions
from store.opinions import Waiting

if TYPE_CHECKING:
    from agent.ingest import Ingest

log = structlog.get_logger(__name__)

SLOW = ("meaning", judging.NAME)
"""Labellers whose votes are recorded first and fused with the others when they are there."""

_PAUSE_S = 0.2
_RETRY_S = 30.0


class SecondOpinions:
    """Puts decisions down to be asked about: rows in the store, in the transaction that judges them."""

    def __init__(self, config: Config) -> None:
        self._reads_meaning = config.labels.meaning == "auto" and is_installed()
        self._has_judge = config.judge.url is not None
        self._train_above = config.labels.train_above

    def recorded(self, connection: sqlite3.Connection, case: Case) -> list[Label]:
        """Return what these labellers have said of a decision already."""
        if not self._reads_meaning and not self._has_judge:
            return []
        return [vote for vote in labels.votes_on(connection, case.decision.id) if vote.labeller in SLOW]

    def wanted(self, case: Case, judgement: Judgement, recorded: Sequence[Label]) -> tuple[str, ...]:
        """Name those that have something to read in a decision and have not said anything."""
        said = {vote.labeller for vote in recorded}
        if case.corrections or case.decision.call_index:
            return ()
        reads = self._reads_meaning and "meaning" not in said and _reacts(case)
        sure = any(label.confidence >= self._train_above for label in judgement.labels)
        told = judging.NAME in said or sure
        judges = self._has_judge and not told and bool(case.answer and case.decision.directions)
        return ("meaning",) * reads + (judging.NAME,) * judges


class SlowLabellers:
    """The labellers that need I/O, as the configuration has them. Use as an async context."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._embedding = Embedding()
        self._client = judging.client_for(config.judge) if config.judge.url else None
        self.judge = judging.Judge(config.judge, self._client) if self._client else None

    async def __aenter__(self) -> SlowLabellers:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._embedding.close()
        if self._client is not None:
            await self._client.aclose()

    @property
    def names(self) -> tuple[str, ...]:
        """Name those that there are."""
        reads_meaning = self._config.labels.meaning == "auto" and is_installed()
        return ("meaning",) * reads_meaning + (judging.NAME,) * (self.judge is not None)

    async def vote(self, labeller: str, case: Case) -> list[Label]:
        """Return the votes of one of them. Raises Unreachable for a judge that does not answer."""
        if labeller == "meaning":
            reader = ReactionLabeller(detect_language, self._embedding.vector)
            return await asyncio.to_thread(reader.vote, case)
        return await self.judge.vote(case) if self.judge is not None else []


async def give_second_opinions(config: Config, writer: Writer, ingest: Ingest) -> None:
    """Ask about the waiting decisions, for ever; no labeller waits for another.

    A judge that does not answer is asked again later.
    """
    async with SlowLabellers(config) as slow, asyncio.TaskGroup() as group:
        for labeller in slow.names:
            group.create_task(_ask_one(labeller, slow, config, writer, ingest), name=f"opinions: {labeller}")


async def _ask_one(
    labeller: str, slow: SlowLabellers, config: Config, writer: Writer, ingest: Ingest
) -> None:
    measured = labeller != judging.NAME
    while True:
        try:
            if slow.judge is not None and not measured:
                await measure_judge(slow.judge, config, writer, ingest)
                measured = True
            while (question := await writer.run(opinions.oldest, (labeller,))) is not None:
                await _give(question, slow, writer, ingest)
        except Unreachable as error:
            log.warning("no judge", why=str(error), again_in_s=_RETRY_S)
            await asyncio.sleep(_RETRY_S)
        await asyncio.sleep(_PAUSE_S)


async def measure_judge(judge: judging.Judge, config: Config, writer: Writer, ingest: Ingest) -> None:
    """Calibrate the judge, unless its calibration for this model and set is known. Raises Unreachable."""
    known = await writer.run(lambda store: calibrations.in_force(store.connection).get(judging.NAME))
    if known is None or known.data != judging.identity(config.judge):
        calibration = await judging.calibrate(judge, config.judge)
        await writer.run(lambda _: ingest.believe(calibration))


async def _give(question: Waiting, slow: SlowLabellers, writer: Writer, ingest: Ingest) -> None:
    """Ask, and write the answer in the transaction that takes the question out. Raises Unreachable."""
    case = await writer.run(lambda _: ingest.case(question.decision_id))
    votes = None if case is None else await slow.vote(question.labeller, case)
    await writer.run(lambda _: ingest.answer(question, votes))


def _reacts(case: Case) -> bool:
    """Say whether the user's next turn is there and is on this decision."""
    return (
        bool(case.following)
        and case.following[-1].role == "user"
        and (all(turn.role != "assistant" for turn in case.following))
    )
