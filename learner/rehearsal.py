"""What the learner asks the live server for before a round: right answers, and rehearsals of corrections.

A decision that was ignored and that nobody corrected in words gets its right answer from the live model with
corrected answers as earlier turns. A correction gets further decision points under the same direction
(`learner.rehearsing`), as many as its rule still lacks, within a budget of seconds. A server that gives no
answer is an alert; the round then trains on what there is.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import structlog

from learner.rehearsing import SHOTS, Ask, Planned, attempt, few_shot, follows, plan
from policies.config import RehearsalConfig
from policies.errors import Unreachable
from policies.rehearsing import other_directions, prompts_of, shares, uses_of
from store import examples, outbox, rehearsals
from store.database import Store
from store.rehearsals import Rehearsed

__all__ = ["Rehearsal", "follows"]

log = structlog.get_logger()


class Rehearsal:
    """Completes examples that still need a pair, and rehearses corrections, a batch at each call.

    `forbidden` are the prompts of probes and evaluations: nothing is rehearsed on them. `unpaired`: the
    objective takes a rejected answer alone.
    """

    def __init__(
        self,
        store: Store,
        ask: Ask,
        config: RehearsalConfig,
        forbidden: Sequence[str],
        seed: int,
        *,
        unpaired: bool = False,
    ) -> None:
        self._store, self._ask, self._config, self._unpaired = store, ask, config, unpaired
        self._forbidden, self._seed = tuple(forbidden), seed
        self._spent, self._asked, self._silent = 0.0, 0, False

    def complete(self) -> None:
        """Ask for a right answer to each decision that has none, once corrected answers exist to show.

        An answer that is not followed refuses the example: no pair is better than a wrong one. An objective
        that needs no pairs gets the ignored answers as they are.
        """
        waiting = examples.needing_pair(self._store)
        if waiting and self._unpaired:
            with self._store.write() as connection:
                examples.let_train_unpaired(connection)
            return
        shown = [e for e in examples.learned(self._store) if e.origin == "correction"] if waiting else []
        shots = shown[-SHOTS:]
        if len(shots) < SHOTS:
            return
        for example in waiting:
            try:
                answer = self._ask([few_shot(example.context, shots)])[0]
            except Unreachable as error:
                self._say_unreachable(error)
                return
            self._silent = False
            kept = answer if follows(example, answer) else None
            with self._store.write() as connection:
                examples.complete_pair(connection, example.id, kept, "few_shot")
            log.info("pair from corrected turns", example=example.id, kept=kept is not None)

    def advance(self) -> bool:
        """Make the next batch of rehearsals. False: none is left to make, or the budget is used up.

        Each batch is one transaction: after a kill the next call goes on behind it.
        """
        waiting = rehearsals.waiting(self._store) if self._spent < self._config.seconds else []
        planned = self._planned(waiting) if waiting else []
        if not planned:
            self._spent, self._asked = 0.0, 0
            return False
        began = time.monotonic()
        try:
            made = attempt(planned, examples.corrected(self._store), self._ask)
        except Unreachable as error:
            self._say_unreachable(error)
            self._spent, self._asked = 0.0, 0
            return False
        self._silent = False
        self._spent += time.monotonic() - began
        self._asked += len(planned)
        uses = uses_of([one.correction for one in waiting], self._config.uses)
        kept = [one for one in rehearsals.add(self._store, made, uses) if one.state == "ready"]
        log.info(
            "rehearsed",
            asked=len(planned),
            kept=len(kept),
            corrections=len({one.parent.id for one in planned}),
            uses=uses,
            seconds=round(self._spent, 1),
            budget=self._config.seconds,
        )
        return True

    def _planned(self, waiting: Sequence[Rehearsed]) -> list[Planned]:
        """Choose what is tried next: of every correction the first that was not, and so on in turn."""
        if self._config.aim == 0:
            return []
        taught = [e for e in examples.ready(self._store) if e.corrects]
        counts = shares(taught, self._config.aim, self._config.most)
        open_ = [one for one in waiting if counts.get(one.correction.id, 0) > len(one.tried)]
        if not open_:
            return []
        prompts = prompts_of(rehearsals.prompts(self._store), self._forbidden)
        others = other_directions(rehearsals.standing_directions(self._store), [])
        found: list[tuple[int, Planned]] = []
        for correction, tried in open_:
            full = plan(correction, prompts, counts[correction.id], self._seed, others=others)
            found += [(number, one) for number, one in enumerate(full) if one.id not in tried]
        found.sort(key=lambda numbered: numbered[0])
        return [one for _, one in found[: self._at_once()]]

    def _at_once(self) -> int:
        """Return how many are asked next: what is left of the budget bears no more at the pace so far."""
        if not self._asked:
            return self._config.at_once
        bears = (self._config.seconds - self._spent) * self._asked / self._spent
        return min(self._config.at_once, int(bears))

    def _say_unreachable(self, error: Unreachable) -> None:
        """Alert, once until the server answers again."""
        log.warning("not rehearsed", reason=str(error))
        if self._silent:
            return
        self._silent = True
        message = f"nothing is rehearsed, training goes on without: {error}"
        with self._store.write() as connection:
            outbox.alert(connection, message)
