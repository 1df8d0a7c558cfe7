"""What a person should look at before it trains: who may fill a batch, and which examples stand out in it.

The losses and the gradient norm of a batch are known before anything is applied, so looking costs nothing: a
step with an outlier in it is dropped, and the outlier is held.
"""

from __future__ import annotations

from collections.abc import Sequence

from learner.tokens import Row
from learner.trainer import Gradients
from policies import trust
from policies.config import Config
from policies.trust import Slot
from store import senders, steps
from store.database import Store
from store.examples import Usable
from store.senders import Origin

_COMPARED = 200
"""Earlier losses and gradient norms that count."""


class Screening:
    """Applies the rules of `policies.trust` to the batches of one store. What has no sender is trusted."""

    def __init__(self, store: Store, config: Config) -> None:
        self._store, self._trust = store, trust.rules_of(config)

    def may_train(self, pending: Sequence[Usable], slots: int) -> list[Usable]:
        """Return those of the waiting examples whose author and conversation have room in the next batch."""
        found = senders.of_examples(self._store, [usable.example.id for usable in pending])
        waiting = {usable.example.id: self._slot(found.get(usable.example.id)) for usable in pending}
        if all(slot.level == "trusted" for slot in waiting.values()):
            return list(pending)
        taken = [self._slot(one) for one in senders.of_last_slots(self._store, self._trust.window)]
        room = trust.within_shares(waiting, taken, slots, self._trust)
        return [usable for usable in pending if usable.example.id in room]

    def outliers(self, batch: Sequence[Row], gradients: Gradients) -> dict[str, str]:
        """Return the corrections of a batch that are to be held, each with the reason.

        Only those that were never trained on, of senders that are not trusted.
        """
        corrections = [row.example_id for row in batch if row.kind == "correction"]
        fresh = set(corrections) - steps.trained(self._store, corrections)
        found = senders.of_examples(self._store, sorted(fresh))
        suspects = {name for name, one in found.items() if self._slot(one).level != "trusted"}
        if not suspects:
            return {}
        earlier = steps.first_losses(self._store, _COMPARED)
        by_loss = {
            row.example_id: f"its loss of {loss:.3g} is an outlier"
            for row, loss in zip(batch, gradients.row_losses, strict=True)
            if row.kind == "correction"
            and row.example_id in suspects
            and trust.is_outlier(loss, earlier, self._trust)
        }
        norms = steps.gradient_norms(self._store, _COMPARED)
        if by_loss or not trust.is_outlier(gradients.norm, norms, self._trust):
            return by_loss
        return dict.fromkeys(suspects, f"the gradient of its batch, {gradients.norm:.3g}, is an outlier")

    def _slot(self, origin: Origin | None) -> Slot:
        if origin is None:
            return Slot(("", ""), "", "trusted")
        level = "trusted" if origin.by_hand else trust.level_of(origin.sender, self._trust)
        return Slot(origin.sender.person, origin.conversation, level)
