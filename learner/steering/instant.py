"""The instant layer: a correction acts within seconds by a vector made of it; the weights take over later.

The vector of a direction is made of its newest corrections, at a fixed depth, and as strong as general text
bears: choosing by answers would take longer than the layer may. As the weights learn the
direction, which the probes measure without any vector, its scale falls, and at the end it is off.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import structlog
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.steering.extraction import ANSWER_TOKENS, Directions, find_directions, rows_of
from learner.steering.file import Steering, SteeringVector
from learner.steering.general import GeneralText
from learner.steering.live import LiveSteering
from learner.steering.pairs import from_examples, ids_of
from learner.steering.strength import as_strong_as
from policies.config import SteeringConfig
from policies.errors import GuardRefused, InputError
from policies.example import Example
from store import examples, outbox, probes, quarantine, versions
from store.database import Store
from store.steering import Slot

log = structlog.get_logger()

LEARNED = 0.9
"""Follow-rate without a vector, from which none is needed."""
STEP = 0.1
"""A scale that would change less stays: each change is a version."""
TRIES, WEAKER = 3, 0.6
PASSAGES = 3
"""Of general text, by which the strength is found: a pass over them for each try. The guard asks them all."""


@dataclass(frozen=True)
class _Tried:
    """The corrections that a vector was last made of; `refused_at`: under which version it was refused."""

    made_of: tuple[str, ...]
    refused_at: str | None = None


class InstantLayer:
    """Makes vectors of new corrections, and lets them go as the weights learn.

    What `general` text costs under a vector says how strong it may be.
    """

    def __init__(
        self,
        store: Store,
        config: SteeringConfig,
        live: LiveSteering,
        vectors: Steering,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        general: GeneralText,
    ) -> None:
        self._store, self._config, self._live, self._vectors = store, config, live, vectors
        self._model, self._tokenizer, self._general = model, tokenizer, general
        self._tried: dict[str, _Tried] = {}
        self._made: dict[str, tuple[str, ...]] = {}

    def look(self) -> None:
        """Make or renew the vector of each direction with new corrections that are still to be trained on.

        What has an example in quarantine goes first, also where no more are made.

        A rehearsal under another argument is no direction of its own. One that is refused is tried again
        when another version is in force, or after the next correction.
        """
        self._let_go()
        if not self._config.auto:
            return
        pending = (found.example for found in examples.pending(self._store))
        waiting = {example.direction for example in pending if example.corrects}
        paired = [e for e in examples.ready(self._store) if e.origin != "followed"] if waiting else []
        for direction in waiting - {None}:
            newest = [e for e in paired if e.direction == direction]
            self._renew(str(direction), newest[-self._config.most_pairs :])

    def read_ahead(self) -> None:
        """Do what the next correction need not wait for: read general text on the weights as they are."""
        if self._config.auto:
            self._general.unsteered()

    def anneal(self) -> None:
        """Let the scale of each vector that may fall be what the weights have not learned yet."""
        self._live.follow()  # the weights are new: what the guard does not allow any more goes first
        for slot in self._live.slots():
            if slot.anneal:
                try:
                    self._anneal(slot)
                except (InputError, GuardRefused) as error:
                    self._live.off(slot.name, str(error))

    def _anneal(self, slot: Slot) -> None:
        followed = self._followed(self._vectors.open(slot.name, slot.vector_id).directions)
        if followed is None:
            return
        if followed >= LEARNED:
            self._live.off(slot.name, f"the weights follow it: {followed:.2f}")
        elif slot.scale - (1 - followed) >= STEP:
            self._live.on(slot.model_copy(update={"scale": 1 - followed}))

    def _let_go(self) -> None:
        """Switch off each vector of which an example is in quarantine or held: a rollback may leave it on.

        Those that are left, or come back, make a new one while they are to be trained on.
        """
        for slot in self._live.slots():
            out = quarantine.withdrawn(self._store, self._made_of(slot))
            if out:
                why = f"made of {', '.join(out)}, in quarantine or held"
                done = self._live.off(slot.name, why)
                with self._store.write() as connection:
                    outbox.alert(connection, f"steering {slot.name} off, version {done['version']}: {why}")
                self._tried = {d: tried for d, tried in self._tried.items() if name_of(d) != slot.name}

    def _made_of(self, slot: Slot) -> tuple[str, ...]:
        """Return the examples in a vector: none where it was made by hand, or its file is gone."""
        if slot.vector_id not in self._made:
            try:
                self._made[slot.vector_id] = self._vectors.open(slot.name, slot.vector_id).examples
            except InputError:
                return ()
        return self._made[slot.vector_id]

    def _renew(self, direction: str, corrections: list[Example]) -> None:
        before, made_of = self._tried.get(direction), tuple(example.id for example in corrections)
        if before == _Tried(made_of) or before == _Tried(made_of, self._version()):
            return
        try:
            self._make(direction, corrections)
            self._tried[direction] = _Tried(made_of)
        except (InputError, GuardRefused) as error:
            if before is None or before.refused_at is None:
                with self._store.write() as connection:
                    outbox.alert(connection, f"no instant vector for {direction!r}: {error}")
            self._tried[direction] = _Tried(made_of, self._version())
            log.warning("no instant vector", direction=direction, reason=str(error))

    def _make(self, direction: str, corrections: list[Example]) -> None:
        """Make the vector and switch it on. Raises InputError without any pair, GuardRefused as `on` does."""
        name, used = name_of(direction), [one for one in corrections if from_examples([one])]
        pairs = from_examples(used)
        if not pairs:
            raise InputError(f"no correction of it has a rejected answer (of the newest {len(corrections)})")
        ids = [ids_of(self._tokenizer, pair, ANSWER_TOKENS) for pair in pairs]
        directions = find_directions(self._model, ids)
        layers = directions.mean.shape[0]
        layer = min(layers - 1, int(layers * self._config.depth))
        vector = SteeringVector(
            name=name,
            model_hash=self._vectors.model_hash,
            method="mean",
            layer=layer,
            strength=self._strength(directions, layer),
            norm=float(directions.mean[layer].norm()),
            pairs=len(pairs),
            source="corrections, at once",
            directions=(direction,),
            examples=tuple(one.id for one in used),
        )
        self._vectors.keep(vector, directions)
        log.info("instant vector", name=name, layer=layer, strength=round(vector.strength, 2))
        self._switch_on(self._live.slot(name, 1.0, anneal=True))

    def _strength(self, directions: Directions, layer: int) -> float:
        """Return what `instant_nll` allows, in distances between followed and ignored answers."""
        layers = directions.mean.shape[0]

        def cost(scale: float) -> float:
            return self._general.ratio(rows_of(directions, "mean", layer, scale, layers), PASSAGES)

        return as_strong_as(cost, self._config.instant_nll)

    def _switch_on(self, slot: Slot) -> None:
        """Switch it on, weaker where the guard says no. Raises GuardRefused where it still does."""
        for _ in range(TRIES - 1):
            try:
                self._live.on(slot)
            except GuardRefused as error:
                log.info("a weaker instant vector", name=slot.name, reason=str(error))
                slot = slot.model_copy(update={"scale": slot.scale * WEAKER})
            else:
                return
        self._live.on(slot)

    def _version(self) -> str | None:
        version = versions.in_force(self._store)
        return None if version is None else version.id

    def _followed(self, directions: tuple[str, ...]) -> float | None:
        """Return the follow-rate of the weights alone, as the last probe found it."""
        scored = probes.last_accepted(self._store).get("follow", {})
        about = {e.id for e in examples.learned(self._store) if e.direction in directions}
        known = [score for item, score in scored.items() if item in about]
        return sum(known) / len(known) if known else None


def name_of(direction: str) -> str:
    """Return the name of the instant vector of a direction."""
    return f"auto_{hashlib.blake2b(direction.encode(), digest_size=4).hexdigest()}"
