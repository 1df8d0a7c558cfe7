"""Verdicts on decisions: pure labellers in order of trust, and their fusion."""

from policies.labelling.calibration import Calibration
from policies.labelling.cases import cases
from policies.labelling.constraint import ConstraintLabeller
from policies.labelling.correction import CorrectionLabeller, match_direction, stated_direction
from policies.labelling.fusion import Judgement, fuse, judge
from policies.labelling.protocol import Case, Labeller
from policies.labelling.reaction import ReactionLabeller

__all__ = [
    "Calibration",
    "Case",
    "ConstraintLabeller",
    "CorrectionLabeller",
    "Judgement",
    "Labeller",
    "ReactionLabeller",
    "cases",
    "fuse",
    "judge",
    "match_direction",
    "stated_direction",
]
