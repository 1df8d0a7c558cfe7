"""The checkable part of directions: what a program can verify, and often repair.

One module per family; each has frozen `Constraint`s and readers that find them in a directing sentence.
"""

from policies.constraints.constraint import Constraint, Detect
from policies.constraints.instructions import constraint_from_instruction
from policies.constraints.reader import Reading, read_constraints
from policies.constraints.repair import broken, repair_all
from policies.constraints.tools import ToolConstraint, check_action

__all__ = [
    "Constraint",
    "Detect",
    "Reading",
    "ToolConstraint",
    "broken",
    "check_action",
    "constraint_from_instruction",
    "read_constraints",
    "repair_all",
]
