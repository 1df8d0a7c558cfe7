"""The watch over the live weights: runs the probes, and keeps the evidence between checks."""

from __future__ import annotations

from learner.lineage import Lineage
from learner.probing.suite import ProbeRun, ProbeSuite
from policies import guard
from policies.config import GuardConfig
from policies.errors import GuardRefused
from policies.evidence import Detector
from store import evidence, examples, probes, state, versions
from store.database import Store
from store.versions import Version

SYSTEMS = 2
"""The agent's own system turns under which leaks are looked for: its commonest."""
_FEWER = 8
"""Rows in a batch of the first check that measures the noise; one alone takes twice as long."""
_NOISE = "guard_noise"
_SLOWEST_LAST = ("choice", "nll", "own", "facts")
"""Of all their items; the others take a second or two."""


class Watch:
    """Looks, and remembers what it saw."""

    def __init__(self, store: Store, config: GuardConfig, suite: ProbeSuite) -> None:
        self._store, self._config, self._suite = store, config, suite

    def look(self, version: str) -> tuple[ProbeRun, guard.Judgement]:
        """Probe a part of the items; where a probe is suspect, its others, too: its evidence goes on.

        The quickest suspect comes first, and one breach is enough: every second more serves wrong answers.
        """
        check = probes.count(self._store)
        part = self._suite.drawn(check)
        systems = examples.plain_systems(self._store, SYSTEMS)
        run = self._suite.run(examples.learned(self._store), systems, part=part, check=check)
        judged = self._judge(run, evidence.about(self._store, version), version)
        for probe in sorted(judged.suspect, key=_slowness):
            more = self._suite.run([], systems, part=self._suite.rest(part), only=(probe,))
            judged = self._judge(more, judged.detectors, version)
            run = _together(run, more)
            if judged.breach:
                break
        return run, judged

    def target(self, judged: guard.Judgement, lineage: Lineage) -> Version:
        """Return where to go back to: the last version before the evidence began whose bytes are there.

        It is the one in force where the evidence is about no version of its path.
        """
        path = versions.path(self._store, lineage.version)
        began = next((place for place, one in enumerate(path) if one.id == judged.since), 0)
        return next(older for older in path[began:] if _is_restorable(lineage, older))  # the base always is

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
            runs.append(self._suite.run([], part=part, batch_size=_FEWER * (1 + number)).scores)
        with self._store.write() as connection:
            state.put(connection, _NOISE, guard.noise_floor(runs, baseline))
        return True

    def _judge(self, run: ProbeRun, known: dict[str, Detector], version: str) -> guard.Judgement:
        baseline, accepted = probes.baseline(self._store), probes.best_follow(self._store)
        noise = state.get(self._store, _NOISE, {})
        return guard.judge(run.scores, baseline, accepted, self._config, known, floor=noise, version=version)


def _slowness(probe: str) -> int:
    return _SLOWEST_LAST.index(probe) if probe in _SLOWEST_LAST else -1


def _is_restorable(lineage: Lineage, version: Version) -> bool:
    try:
        lineage.require_restorable(version)
    except GuardRefused:
        return False
    return True


def _together(first: ProbeRun, second: ProbeRun) -> ProbeRun:
    names = {**first.scores, **second.scores}
    scores = {name: {**first.scores.get(name, {}), **second.scores.get(name, {})} for name in names}
    return ProbeRun(scores, first.seconds + second.seconds)
