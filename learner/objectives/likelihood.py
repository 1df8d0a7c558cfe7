"""The default: likelihood of the corrected answer, weight on what deviates, and the first-token margin."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from learner.objectives.objective import Objective, Scored


class Likelihood(Objective):
    """Makes the corrected answer likely; of the rejected one it needs only the token where they part."""

    def correction(self, parts: Sequence[Scored]) -> Tensor:
        """Return the weighted mean of -log p over the labels, and the margin."""
        weights = self.token_weights(parts[0])
        likelihood = -(weights * parts[0].label_log_probs()).sum() / weights.sum()
        return likelihood + self.margin(parts[0])
