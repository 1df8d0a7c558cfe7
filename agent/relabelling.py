"""Label again what is stored, and measure the labellers against the corrections in the store."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

import structlog

from agent.ingest import Ingest
from agent.language import detect_language
from agent.reading import default_labellers
from agent.second_opinions import SLOW, SlowLabellers
from policies.config import Config
from policies.errors import Unreachable
from policies.label import Label
from policies.labelling import Calibration, Case
from policies.labelling.calibration import Outcome, fit_calibration
from policies.labelling.correction import meant_directions
from store import labels, opinions
from store.database import Store
from store.progress import Progressing

log = structlog.get_logger(__name__)

ENOUGH = 20
"""Corrections that must bear on a labeller before its calibration is fitted to them."""


async def label_again(store: Store, config: Config) -> dict[str, int]:
    """Label every stored decision by the labellers of now. Returns counts: decisions, changed labels."""
    ingest = Ingest(store, config, detect_language)
    before = store.rows("SELECT count(*) AS n FROM label_history WHERE kind = 'labels'")[0]["n"]
    async with SlowLabellers(config) as slow:
        answers = True
        found = store.rows("SELECT DISTINCT conversation_id FROM decisions ORDER BY conversation_id")
        with Progressing("conversations labelled again", len(found)) as progress:
            for row in found:
                ingest.label_again(row["conversation_id"], slow.names)
                answers = answers and await _answer_waiting(store, ingest, slow)
                progress.advance()
    after = store.rows("SELECT count(*) AS n FROM label_history WHERE kind = 'labels'")[0]["n"]
    decisions = store.rows("SELECT count(*) AS n FROM decisions")[0]["n"]
    return {"decisions": decisions, "labels_replaced": after - before}


async def _answer_waiting(store: Store, ingest: Ingest, slow: SlowLabellers) -> bool:
    """Ask about all that waits. Returns False where a judge does not answer: the loop asks it later."""
    while (question := opinions.oldest(store, slow.names)) is not None:
        case = ingest.case(question.decision_id)
        try:
            ingest.answer(question, None if case is None else await slow.vote(question.labeller, case))
        except Unreachable as error:
            log.warning("no judge, its opinions stay waiting", why=str(error))
            return False
    return True


def own_calibrations(store: Store, config: Config) -> tuple[list[Calibration], dict[str, int]]:
    """Fit each labeller to the corrections in the store: what it said without them, and whether it was right.

    Returns the calibrations, and for those with fewer than `ENOUGH` outcomes how many there are.
    """
    outcomes: dict[str, list[Outcome]] = defaultdict(list)
    digest = hashlib.sha256()
    for case in _corrected_cases(store, config):
        digest.update(case.corrections[-1].event_id.encode())
        for vote in _votes_without_corrections(store, case):
            if (right := _is_right(vote, case)) is not None:
                outcomes[vote.labeller].append((vote.confidence, right))
    fitted, too_few = [], Counter[str]()
    for labeller, told in sorted(outcomes.items()):
        if len(told) < ENOUGH:
            too_few[labeller] = len(told)
            continue
        slope, intercept = fit_calibration(told)
        fitted.append(
            Calibration(
                labeller=labeller,
                slope=slope,
                intercept=intercept,
                rows=len(told),
                fitted=datetime.now(UTC).date().isoformat(),
                data=f"corrections of this store, {digest.hexdigest()[:12]}",
            )
        )
    return fitted, dict(too_few)


def _corrected_cases(store: Store, config: Config) -> Iterator[Case]:
    ingest = Ingest(store, config, detect_language)
    for row in store.rows("SELECT DISTINCT turn_event_id AS id FROM corrections WHERE state = 'applied'"):
        case = ingest.case(f"{row['id']}#0")
        if case is not None and case.corrections:
            yield case


def _votes_without_corrections(store: Store, case: Case) -> list[Label]:
    """Return what labellers say of a case by themselves, before any calibration."""
    alone = Case(case.decision, case.following)
    cast = [vote for labeller in default_labellers(detect_language) for vote in labeller.vote(alone)]
    recorded = labels.votes_on(store.connection, case.decision.id)
    return [vote for vote in (*cast, *(v for v in recorded if v.labeller in SLOW)) if vote.confidence > 0]


def _is_right(vote: Label, case: Case) -> bool | None:
    """Say whether a correction bears a vote out; None where it speaks of another direction."""
    correction = case.corrections[-1]
    meant = meant_directions(correction, case.decision, detect_language)
    if meant and vote.direction_id is not None and vote.direction_id not in {d.id for d in meant}:
        return None
    return vote.verdict == correction.verdict
