"""The reaction labeller across folds: no row is predicted by what was fitted on its session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit_reaction import Material, calibrate, cross_validated, read_material
from benchmarks.label_sets.constraints import rate
from policies.labelling.meaning import Embed

_SELF_REPAIR = "user_self_repair"


@dataclass(frozen=True)
class Prediction:
    """What is said of one row of a set: how likely it is `ignored`, and the truth."""

    origin: str
    kind: str
    vetoed: bool
    probability: float
    ignored: bool

    def is_labelled(self, above: float) -> bool:
        """Say whether the labeller would call it ignored."""
        return self.probability >= above and not self.vetoed


def predict(data: Path, embed: Embed | None) -> list[Prediction]:
    """Return predictions of the rows of the coding and EURTAD sets, across folds by session and dialogue."""
    material = read_material(data, embed)
    raw = cross_validated(material)
    measured = [n for n, origin in enumerate(material.origin) if origin in ("coding", "eurtad")]
    found = []
    for number in np.unique(material.fold):
        others = [n for n in measured if material.fold[n] != number]
        calibration = calibrate(raw, material, others)
        for n in (n for n in measured if material.fold[n] == number):
            found.append(
                Prediction(
                    origin=material.origin[n],
                    kind=material.rows[n].kind,
                    vetoed=_is_vetoed(material, n),
                    probability=calibration.calibrated(float(raw[n])),
                    ignored=bool(material.y[n]),
                )
            )
    return found


def figures(predictions: Sequence[Prediction], above: float) -> dict[str, Any]:
    """Return the figures of each set, at the confidence from which a label is given."""
    return {
        "coding": _coding([p for p in predictions if p.origin == "coding"], above),
        "eurtad": _eurtad([p for p in predictions if p.origin == "eurtad"], above),
    }


def _coding(rows: Sequence[Prediction], above: float) -> dict[str, Any]:
    if not rows:
        return {"absent": "B/coding_feedback"}
    labelled = [row for row in rows if row.is_labelled(above)]
    hits = sum(row.ignored for row in labelled)
    ignored = sum(row.ignored for row in rows)
    repairs = [row for row in rows if row.kind == _SELF_REPAIR]
    return {
        "n": len(rows),
        **rate("precision", hits, len(labelled)),
        **rate("recall", hits, ignored),
        "f1": round(2 * hits / (len(labelled) + ignored), 4),
        "self_repairs": len(repairs),
        "self_repairs_ignored": sum(row.is_labelled(above) for row in repairs),
    }


def _eurtad(rows: Sequence[Prediction], above: float) -> dict[str, Any]:
    if not rows:
        return {"absent": "B/eurtad"}
    labelled = [row for row in rows if row.is_labelled(above)]
    hits = sum(row.ignored for row in labelled)
    ignored = sum(row.ignored for row in rows)
    return {
        "n": len(rows),
        **rate("false_positive_rate", len(labelled) - hits, len(rows) - ignored),
        **rate("recall", hits, ignored),
        **rate("precision", hits, len(labelled)),
    }


def _is_vetoed(material: Material, n: int) -> bool:
    """Say whether the labeller never calls this row ignored, whatever the model says."""
    row = dict(zip(material.names, material.X[n], strict=False))
    return bool(row["command"] or row["own_fault"])
