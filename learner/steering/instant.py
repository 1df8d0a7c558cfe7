"""The instant layer: a correction acts within seconds by a vector made of it; the weights take over later.

The vector of a direction is made of its newest corrections, at a fixed depth, and as strong as is set or as
the guard allows: choosing by answers would take longer than the layer may. As the weights learn the
direction, which the probes measure without any vector, its scale falls, and at the end it is off.
"""

from __future__ import annotations

import hashlib

import structlog
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from learner.steering.extraction import ANSWER_TOKENS, find_directions
from learner.steering.file import Steering, SteeringVector
from learner.steering.live import LiveSteering
from learner.steering.pairs import from_examples, ids_of
from policies.config import SteeringConfig
from policies.errors import GuardRefused, InputError
from policies.example import Example
from store import examples, probes
from store.database import Store
from store.steering import Slot

log = structlog.get_logger()

LEARNED = 0.9
"""Follow-rate without a vector, from which none is needed."""
STEP = 0.1
"""A scale that would change less stays: each change is a version."""
TRIES, WEAKER = 3, 0.6


class InstantLayer:
    """Makes vectors of new corrections, and lets them go as the weights learn."""

    def __init__(
        self,
        store: Store,
        config: SteeringConfig,
        live: LiveSteering,
        vectors: Steering,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
    ) -> None:
        self._store, self._config, self._live, self._vectors = store, config, live, vectors
        self._model, self._tokenizer = model, tokenizer
        self._made_of: dict[str, tuple[str, ...]] = {}

    def look(self) -> None:
        """Make or renew the vector of each direction with new corrections that are still to be trained on."""
        if not self._config.auto:
            return
        waiting = {found.example.direction for found in examples.pending(self._store)}
        for direction in waiting - {None}:
            newest = [e for e in examples.ready(self._store) if e.direction == direction]
            self._renew(str(direction), newest[-self._config.most_pairs :])

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
        direction = self._vectors.open(slot.name).direction
        followed = None if direction is None else self._followed(direction)
        if followed is None:
            return
        if followed >= LEARNED:
            self._live.off(slot.name, f"the weights follow it: {followed:.2f}")
        elif slot.scale - (1 - followed) >= STEP:
            self._live.on(slot.model_copy(update={"scale": 1 - followed}))

    def _renew(self, direction: str, corrections: list[Example]) -> None:
        name, made_of = name_of(direction), tuple(example.id for example in corrections)
        pairs = from_examples(corrections)
        if not pairs or self._made_of.get(direction) == made_of:
            return
        self._made_of[direction] = made_of
        try:
            ids = [ids_of(self._tokenizer, pair, ANSWER_TOKENS) for pair in pairs]
            directions = find_directions(self._model, ids)
            layers = directions.mean.shape[0]
            layer = min(layers - 1, int(layers * self._config.depth))
            vector = SteeringVector(
                name=name,
                model_hash=self._vectors.model_hash,
                method="mean",
                layer=layer,
                strength=self._config.strength,
                norm=float(directions.mean[layer].norm()),
                pairs=len(pairs),
                source="corrections, at once",
                direction=direction,
            )
            self._vectors.keep(vector, directions)
            self._switch_on(self._live.slot(name, 1.0, anneal=True))
        except (InputError, GuardRefused) as error:
            log.warning("no instant vector", direction=direction, reason=str(error))

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

    def _followed(self, direction: str) -> float | None:
        """Return the follow-rate of the weights alone, as the last probe found it."""
        scored = probes.last_accepted(self._store).get("follow", {})
        about = {e.id for e in examples.learned(self._store) if e.direction == direction}
        known = [score for item, score in scored.items() if item in about]
        return sum(known) / len(known) if known else None


def name_of(direction: str) -> str:
    """Return the name of the instant vector of a direction."""
    return f"auto_{hashlib.blake2b(direction.encode(), digest_size=4).hexdigest()}"
