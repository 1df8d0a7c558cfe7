"""The watch over the live weights: runs the probes, and keeps the evidence between checks."""

from __future__ import annotations

import sqlite3

from learner.lineage import Lineage
from learner.probing.suite import ProbeRun, ProbeSuite
from policies import guard
from policies.config import GuardConfig
from policies.errors import GuardRefused
from policies.evidence import Detector
from store import examples, probes, state, versions
from store.database import Store
from store.versions import Version

SYSTEMS = 2
"""The agent's own system turns under which leaks are looked for: its commonest."""
_EVIDENCE = "guard_evidence"
_NOISE = "guard_noise"


class Watch:
    """Looks, and remembers what it saw."""

    def __init__(self, store: Store, config: GuardConfig, suite: ProbeSuite) -> None:
        self._store, self._config, self._suite = store, config, suite

    def look(self, version: str) -> tuple[ProbeRun, guard.Judgement]:
        """Probe a part of the items; where a probe is suspect, its others, too: its evidence goes on."""
        part = self._suite.drawn(probes.count(self._store))
        systems = examples.plain_systems(self._store, SYSTEMS)
        run = self._suite.run(examples.learned(self._store), systems, part=part)
        judged = self._judge(run, self._evidence(version), version)
        if judged.suspect:
            more = self._suite.run([], systems, part=self._suite.rest(part), only=judged.suspect)
            judged = self._judge(more, judged.detectors, version)
            run = _together(run, more)
        return run, judged

    def remember(self, connection: sqlite3.Connection, judged: guard.Judgement, version: str) -> None:
        """Keep the evidence of a check for the next one, which is about what comes after `version`."""
        kept = {name: one.model_dump() for name, one in judged.detectors.items()}
        state.put(connection, _EVIDENCE, {"version": version, "detectors": kept})

    def forget(self, connection: sqlite3.Connection) -> None:
        """Begin anew: what the evidence was about is undone."""
        state.put(connection, _EVIDENCE, None)

    def target(self, judged: guard.Judgement, lineage: Lineage) -> Version:
        """Return where to go back to: the last version before the evidence began, if it is stored."""
        version = lineage.version
        for older in versions.path(self._store, version):
            if older.id == judged.since:
                try:
                    lineage.require_restorable(older)
                except GuardRefused:
                    return version
                return older
        return version

    def measure_noise(self) -> bool:
        """Measure the noise once a baseline, on weights that were not trained. Returns whether it did.

        Batches of another size round otherwise: that is all that differs.
        """
        baseline = probes.baseline(self._store)
        if self._suite.own and not self._suite.own <= set(baseline.get("own", {})):
            with self._store.write() as connection:
                probes.complete_baseline(connection, "own", self._suite.own_of_base())
        if state.get(self._store, _NOISE) is not None or examples.learned(self._store):
            return False
        runs: list[guard.Scores] = []
        for number in range(self._config.noise_checks):
            part = self._suite.drawn(number)
            runs.append(self._suite.run([], part=part, batch_size=1 + 4 * number).scores)
        with self._store.write() as connection:
            state.put(connection, _NOISE, guard.noise_floor(runs, baseline))
        return True

    def _evidence(self, version: str) -> dict[str, Detector]:
        """Return the evidence so far; none where a rollback or a vector has changed the weights since."""
        kept = state.get(self._store, _EVIDENCE) or {}
        if kept.get("version") != version:
            return {}
        return {name: Detector(**one) for name, one in kept["detectors"].items()}

    def _judge(self, run: ProbeRun, known: dict[str, Detector], version: str) -> guard.Judgement:
        baseline, accepted = probes.baseline(self._store), probes.best_follow(self._store)
        noise = state.get(self._store, _NOISE, {})
        return guard.judge(run.scores, baseline, accepted, self._config, known, floor=noise, version=version)


def _together(first: ProbeRun, second: ProbeRun) -> ProbeRun:
    names = {**first.scores, **second.scores}
    scores = {name: {**first.scores.get(name, {}), **second.scores.get(name, {})} for name in names}
    return ProbeRun(scores, first.seconds + second.seconds)
