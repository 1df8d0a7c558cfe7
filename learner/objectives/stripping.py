"""Direction stripping: the corrected decision without the direction in its context, so that it becomes habit.

For directions that stand in a system turn only: what is always asked for need not be asked for any more. No
twin holds against it there, and `leak` is then what is wanted.
"""

from __future__ import annotations

from typing import ClassVar

from learner.objectives.likelihood import Likelihood


class Stripping(Likelihood):
    """Likelihood on the context without the direction (Askell et al. 2021, context distillation)."""

    twins: ClassVar[bool] = False
    strips: ClassVar[bool] = True
