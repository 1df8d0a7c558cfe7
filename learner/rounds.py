"""A round of training: from the first waiting correction until none is left, step by step."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from math import isfinite

import structlog

from learner.allocator import give_back
from learner.causes import Causes, guilty
from learner.lineage import Lineage, version_event
from learner.live.client import LiveWeights
from learner.pacing import Pacer, pausing
from learner.probing.suite import ProbeRun, ProbeSuite
from learner.quiet import Quiet
from learner.screening import Screening
from learner.tokens import Row
from learner.trainer import Gradients, Trainer
from learner.watch import SYSTEMS, Watch
from policies import guard, replay, schedule
from policies.config import Config
from policies.errors import InputError
from policies.example import Example
from policies.messages import ProbeEvent, StepEvent
from policies.replay import BatchRow
from store import backoff, evidence, examples, outbox, probes, quarantine, state, steps, versions
from store.clock import now_ms, rfc3339
from store.database import Store
from store.examples import Usable
from store.probes import ProbeVerdict
from store.versions import Version

log = structlog.get_logger()

GENERAL_POOL = 128
EARLIER = 64
"""Corrections of earlier rounds, of which reminders are drawn."""
WINDOW = 128
"""Waiting corrections of which batches are made: the oldest that may train. Others have no rows yet."""
AHEAD, TWINS_AHEAD = 4, 8
"""Rows that are prepared at once while nothing else is to do, and corrections whose twins are answered."""
_ROUND = "round_after_step"
"""Named in the store while a round is under way."""
MOST_DROPS = 3
"""A correction in so many dropped steps is quarantined: it is what makes the steps not finite."""


class Rounds:
    """Trains on what waits, probes at the set cadence, keeps or undoes."""

    def __init__(
        self,
        store: Store,
        config: Config,
        live: LiveWeights,
        trainer: Trainer,
        suite: ProbeSuite,
        lineage: Lineage,
        pacer: Pacer | None = None,
    ) -> None:
        self._store, self._config, self._live = store, config, live
        self._write = live.write if pacer is None else pausing(live.write, pacer)
        self._trainer, self._suite, self._lineage = trainer, suite, lineage
        self._known: dict[str, Example] = {}
        self._reminders: frozenset[str] = frozenset()
        self._quiet = Quiet()
        self._screening = Screening(store, config)
        self._watch = Watch(store, config.guard, suite)
        self._causes = Causes(trainer, suite, config.guard.cause_s)

    def due(self) -> bool:
        """Tell whether enough wait, nothing new has come for long enough, or a round was broken off."""
        if state.get(self._store, _ROUND) is not None:
            return True
        pending = examples.pending(self._store)
        waiting = sum(one.example.parent is None for one in pending) or len(pending)
        quiet_s = self._quiet.seconds(examples.newest_waiting(self._store))
        if waiting and not self._general():
            return False  # no step without replay; the agent's first ordinary turn brings some
        return schedule.round_starts(waiting, quiet_s, self._config.training)

    def prepare(self) -> bool:
        """Do ahead of time, a little at each call, what a round needs of the base model; forget the rest.

        Returns whether corrections are left to prepare.
        """
        pending = examples.pending(self._store)
        general = self._general()
        window, known = self._window(pending), self._trainer.row_book.example_ids
        fresh = [found.example.id for found in window if found.example.id not in known]
        later = set(fresh[TWINS_AHEAD:])
        now = [found for found in (*window, *general) if found.example.id not in later]
        rows = [row for found in self._trainable(now) for row in self._trainer.rows_for(found.example)]
        self._trainer.warm(rows, most=AHEAD)
        self._keep_only([*pending, *general])
        return bool(later)

    def _window(self, pending: Sequence[Usable]) -> list[Usable]:
        """Return what the next batch may be made of: a flood holds up neither a step nor a command."""
        return self._screening.may_train(pending, self._config.training.corrections_per_batch)[:WINDOW]

    def _keep_only(self, found: Sequence[Usable]) -> None:
        """Drop what no next batch holds: a turn of the agent is replay for a while, and then never again."""
        usable = {one.example.id for one in found}
        if self._trainer.row_book.example_ids - usable <= self._reminders:
            return
        if self._config.training.reminder_share:
            earlier = examples.learned_earlier(self._store, EARLIER)
            self._reminders = frozenset(found.example.id for found in earlier)
        kept = usable | self._reminders
        self._trainer.keep_only(kept)
        self._known = {name: example for name, example in self._known.items() if name in kept}

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Train until nothing waits or `interrupted()`; what was changed is probed before it returns.

        What was interrupted, or killed, goes on at the next call where it was: the schedule is in the store.
        """
        after = self._begin()
        while not interrupted():
            done, used = steps.taken_after(self._store, after)
            pending = examples.pending(self._store)
            left = sum(usable.quota - usable.uses for usable in pending)
            rate = schedule.learning_rate(
                self._config.training, done, remaining_uses=left, planned_uses=left + used
            ) * backoff.factor(self._store)
            slots = self._slots(pending)
            if not slots:
                self._end()
                break
            self._step(slots, rate)
            if self._lineage.unsaved() >= self._config.guard.every_steps and not self.check():
                self._end()
                return
        if self._lineage.unsaved():
            self.check()

    def _begin(self) -> int:
        """Return the last step before this round; a round that was broken off goes on."""
        after = state.get(self._store, _ROUND)
        if after is None:
            after = steps.last(self._store)
            with self._store.write() as connection:
                state.put(connection, _ROUND, after)
        return int(after)

    def _end(self) -> None:
        with self._store.write() as connection:
            state.put(connection, _ROUND, None)

    def check(self) -> bool:
        """Probe the live weights; make them a durable version, or roll them back. True when kept."""
        kept = self._judge()
        self._keep_only([*examples.pending(self._store), *self._general()])  # a round may never end
        give_back()
        return kept

    def _judge(self) -> bool:
        run, judged = self._watch.look(self._lineage.version.id)
        if judged.breach:
            self._record(run, "breach", "; ".join(judged.reasons))
            self._undo(judged)
            return False
        version = self._lineage.accept()
        with self._store.write() as connection:
            versions.add(connection, version)
            outbox.put(connection, version_event(version))
            evidence.remember(connection, version.id, judged.detectors)
            backoff.recover(connection, self._store, self._config.guard)
        self._lineage.enter(version)
        self._record(run, "accept")
        return True

    def _undo(self, judged: guard.Judgement) -> None:
        """Restore, quarantine what caused it, say so, and learn more slowly for a while: one transaction.

        Everything that is undone goes into quarantine; those found innocent come back from there. A kill
        during the search leaves them all in quarantine.
        """
        systems = examples.plain_systems(self._store, SYSTEMS)
        worse = self._causes.direction(judged.broken, systems)
        target = self._watch.target(judged, self._lineage)
        before, reasons = quarantine.last(self._store), "; ".join(judged.reasons)

        def record(connection: sqlite3.Connection, _: Version, quarantined: int) -> None:
            evidence.forget(connection)
            rate = backoff.back_off(connection, self._store, self._config.guard)
            outbox.alert(
                connection,
                f"breach: {reasons}; {quarantined} corrections in quarantine (`run.py quarantine list`);"
                f" learning rate times {rate:g}",
            )

        self._lineage.roll_back(target, reasons, record)
        if worse is not None:
            self._acquit(self._causes.harms(worse, quarantine.after(self._store, before)))

    def _acquit(self, harms: Mapping[str, float] | None) -> None:
        """Let the innocent wait again, and name the cause; None: nobody can be told guilty or not."""
        if harms is None:
            return
        named = guilty(harms, self._config.guard.cause_share)
        with self._store.write() as connection:
            free = quarantine.acquit(connection, harms, named)
            message = f"cause of the breach: {', '.join(named)}; {free} corrections found innocent wait again"
            outbox.alert(connection, message)
        log.warning("cause found", guilty=named, innocent=free)

    def measure_noise(self) -> None:
        """Check the live weights in batches of other sizes: how far scores differ where nothing changed."""
        if self._watch.measure_noise():
            log.info("noise of the probes measured")

    def measure(self, verdict: ProbeVerdict = "accept") -> ProbeRun:
        """Run all probes in full on the live weights and record them; nothing is judged."""
        systems = examples.plain_systems(self._store, SYSTEMS)
        run = self._suite.run(examples.learned(self._store), systems, check=probes.count(self._store))
        self._record(run, verdict)
        return run

    def _step(self, slots: Sequence[BatchRow], rate: float) -> None:
        """Take one step: intent, gradients, live weights, confirmation."""
        version = self._lineage.version.id
        batch = [self._row(slot) for slot in slots]
        with self._store.write() as connection:
            step_id = steps.begin(connection, version, rate, [(slot.kind, slot.example_id) for slot in slots])
        gradients = self._trainer.backward(batch)
        if not gradients.finite:
            self._drop(step_id, batch, gradients)
            return
        outliers = self._screening.outliers(batch, gradients)
        if outliers:
            self._hold(step_id, gradients.seconds, outliers)
            return
        with self._live.publishing(version, step_id):
            applied = self._trainer.apply(gradients, rate, self._write)
        event = StepEvent(
            ts=rfc3339(now_ms()),
            step=step_id,
            state="confirmed",
            loss=gradients.loss,
            replay_share=sum(row.kind == "general" for row in batch) / len(batch),
        )
        with self._store.write() as connection:
            steps.confirm(
                connection,
                step_id,
                loss=gradients.loss,
                row_losses=gradients.row_losses,
                seconds=gradients.seconds + applied.seconds,
                changed_bytes=applied.changed_bytes,
                detail={"gradient_norm": gradients.norm, "apply_seconds": round(applied.seconds, 3)},
            )
            outbox.put(connection, event)
        log.info("step", step=step_id, loss=round(gradients.loss, 4), rate=rate)

    def _slots(self, pending: Sequence[Usable]) -> tuple[BatchRow, ...]:
        """Choose what fills the next batch, nothing when nothing waits."""
        training = self._config.training
        rng = random.Random(f"{training.seed}/{steps.decided(self._store)}")
        general = self._trainable(self._general())
        allowed = self._trainable(self._window(pending))
        earlier = self._earlier(pending if allowed else [])
        slots = replay.compose(
            [self._candidate(usable) for usable in allowed],
            [self._candidate(usable) for usable in general],
            2 * training.corrections_per_batch,
            rng,
            [replay.Candidate(example_id, found.uses) for example_id, found in earlier.items()],
            training.reminder_share,
        )
        drawn = [earlier[slot.example_id] for slot in slots if slot.kind == "reminder"]
        return slots if len(self._trainable(drawn)) == len(drawn) else self._slots(pending)

    def _general(self) -> list[Usable]:
        """Return what replay is drawn from: new ordinary turns and the pool, without what a probe asks."""
        return examples.general(self._store, GENERAL_POOL, lambda one: not self._suite.asks(one.context))

    def _earlier(self, pending: Sequence[Usable]) -> dict[str, Usable]:
        """Return what was learned in earlier rounds and is not corrected now; no rows are made of it yet."""
        if not pending or not self._config.training.reminder_share:
            return {}
        now = {usable.example.direction for usable in pending}
        found = examples.learned_earlier(self._store, EARLIER)
        return {one.example.id: one for one in found if one.example.direction not in now}

    def _candidate(self, usable: Usable) -> replay.Candidate:
        has_twin = any(row.kind == "twin" for row in self._trainer.rows_for(usable.example))
        return replay.Candidate(usable.example.id, usable.uses, usable.quota, has_twin, usable.twin_uses)

    def _row(self, slot: BatchRow) -> Row:
        kind = "correction" if slot.kind == "reminder" else slot.kind
        rows = self._trainer.rows_for(self._known[slot.example_id])
        return next(row for row in rows if row.kind == kind)

    def _trainable(self, candidates: Sequence[Usable]) -> list[Usable]:
        """Return those that rows can be made of."""
        with suppress(InputError):  # prepares all that it can; `_has_rows` meets each error again
            self._trainer.prepare([usable.example for usable in candidates])
        return [usable for usable in candidates if self._has_rows(usable.example)]

    def _has_rows(self, example: Example) -> bool:
        try:
            self._trainer.rows_for(example)
        except InputError as error:
            with self._store.write() as connection:
                examples.refuse(connection, example.id)
                outbox.alert(connection, f"not trained on: {error}")
            return False
        self._known[example.id] = example
        return True

    def _drop(self, step_id: int, batch: Sequence[Row], gradients: Gradients) -> None:
        """Record a step that was not finite; what keeps causing it is quarantined."""
        corrections = {row.example_id for row in batch if row.kind == "correction"}
        losses = zip(batch, gradients.row_losses, strict=True)
        wrong = {row.example_id for row, loss in losses if not isfinite(loss)}
        suspects = corrections & wrong or corrections
        reason = f"loss {gradients.loss} or gradient norm {gradients.norm} is not finite"
        with self._store.write() as connection:
            steps.drop(connection, step_id, reason, gradients.seconds)
            repeated = [e for e in suspects if steps.drops_of(connection, e) >= MOST_DROPS]
            examples.quarantine(connection, repeated, reason)
            share = sum(row.kind == "general" for row in batch) / len(batch)
            outbox.put(
                connection,
                StepEvent(ts=rfc3339(now_ms()), step=step_id, state="dropped", loss=None, replay_share=share),
            )
            for example_id in repeated:
                outbox.alert(connection, f"{example_id} quarantined: {reason}")
        log.warning("step dropped", step=step_id, reason=reason, quarantined=repeated)

    def _hold(self, step_id: int, seconds: float, outliers: Mapping[str, str]) -> None:
        """Give up a step that holds what a person should see first."""
        said = "; ".join(f"{name}: {reason}" for name, reason in outliers.items())
        with self._store.write() as connection:
            steps.drop(connection, step_id, f"held {said}", seconds)
            for name, reason in outliers.items():
                examples.hold(connection, [name], reason)
            message = f"held for review (`run.py held list`): {said}"
            outbox.alert(connection, message)
        log.warning("step dropped, examples held", step=step_id, reasons=said)

    def _record(self, run: ProbeRun, verdict: ProbeVerdict, reason: str = "") -> None:
        values = {name: probes.mean(list(items.values())) for name, items in run.scores.items() if items}
        step = steps.last_confirmed(self._store)
        with self._store.write() as connection:
            probes.add(
                connection,
                step_id=step,
                version_id=self._lineage.version.id,
                verdict=verdict,
                reason=reason,
                seconds=run.seconds,
                scores=run.scores,
            )
            outbox.put(
                connection, ProbeEvent(ts=rfc3339(now_ms()), step=step, values=values, verdict=verdict)
            )
        log.info("probe", verdict=verdict, reason=reason, seconds=round(run.seconds, 1), **values)
