"""Fit the reaction labeller: `python -m benchmarks.fit_reaction` writes `policies/labelling/reaction*.json`.

Logistic regression with an L2 penalty on the sets of `benchmarks.label_sets` and `benchmarks/reactions.tsv`
(written for this project). The calibration is fitted on predictions for rows that had no part in the weights.
What is written are numbers: no word of the data.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.labellers.embedding import Embedding
from benchmarks.label_sets import coding, eurtad
from benchmarks.label_sets.next_turn import NextTurn, as_case, digest
from policies.labelling.calibration import Calibration, fit_calibration, logistic
from policies.labelling.features import features
from policies.labelling.meaning import Embed, meaning
from policies.labelling.model import ReactionModel

OWN = Path(__file__).parent / "reactions.tsv"
FOLDER = Path(__file__).parent.parent / "policies" / "labelling"
FOLDS = 10
_PENALTY, _VECTOR_PENALTY = 1.0, 0.3
_CALIBRATION_PRIOR = 1.0
_WEIGHTS = {"coding": 1.0, "eurtad": 1.0, "errors": 0.5, "own": 1.0}
_MEASURED = ("coding", "eurtad")
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Material:
    """All rows as numbers: features X [n, features], truth y [n], weight w [n], fold [n].

    `penalty` [features] holds the components of vectors, of which there are many, to its own strength.
    """

    rows: Sequence[NextTurn]
    origin: Sequence[str]
    names: Sequence[str]
    vectors: Mapping[str, int]
    X: Vector
    y: Vector
    w: Vector
    penalty: Vector
    fold: NDArray[np.int64]


def main() -> None:
    """Fit the models and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("HEEDLOOP_DATA", "../shared/data"))
    data = parser.parse_args().data
    fingerprint = digest([*coding.files(data), *eurtad.files(data), OWN])
    with Embedding() as embedding:
        for name, embed in (("reaction", None), ("reaction_meaning", embedding.vector)):
            material = read_material(data, embed)
            model = fit(material, fingerprint)
            (FOLDER / f"{name}.json").write_text(written(model))
            print(f"{len(material.rows)} rows, {material.X.shape[1]} weights -> {name}.json")


def written(model: ReactionModel) -> str:
    """Return the file of a model: one line a weight, but one line for all vectors."""
    fields = model.model_dump()
    vectors, fields["vectors"] = fields["vectors"], {}
    return json.dumps(fields, indent=1).replace('"vectors": {}', f'"vectors": {json.dumps(vectors)}') + "\n"


def read_material(data: Path, embed: Embed | None = None) -> Material:
    """Read all sets. Sentences that many rows share count less; a group lies in one fold."""
    sets = {
        "coding": coding.read(data),
        "eurtad": eurtad.read(data),
        "errors": eurtad.read_errors(data),
        "own": read_own(),
    }
    rows = [row for of_set in sets.values() for row in of_set]
    origin = [name for name, of_set in sets.items() for _ in of_set]
    found = [features(row.case) for row in rows]
    meant = [one for row in rows if embed and (one := meaning(row.case, embed))]
    if meant:
        found = [{**one, **more.near} for one, more in zip(found, meant, strict=True)]
    names = sorted(found[0])
    vectors = {name: len(vector) for name, vector in meant[0].vectors.items()} if meant else {}
    flat = [[x for name in vectors for x in one.vectors[name]] for one in meant] or [[]] * len(rows)
    said = [
        (name, row.case.following[-1].content.lower().strip()) for name, row in zip(origin, rows, strict=True)
    ]
    shared = Counter(said)
    return Material(
        rows=rows,
        origin=origin,
        names=names,
        vectors=vectors,
        X=np.hstack([np.array([[one[name] for name in names] for one in found]), np.array(flat)]),
        y=np.array([row.ignored for row in rows], dtype=np.float64),
        w=np.array([_WEIGHTS[key[0]] / shared[key] ** 0.5 for key in said]),
        penalty=np.array([_PENALTY] * len(names) + [_VECTOR_PENALTY] * sum(vectors.values())),
        fold=np.array(folds(rows)),
    )


def read_own() -> list[NextTurn]:
    """Read the turns written for this project."""
    rows = []
    for line in OWN.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            label, answer, reaction = line.replace("\\n", "\n").split("\t")
            rows.append(NextTurn(as_case((), answer, reaction), label == "ignored", reaction))
    return rows


def folds(rows: Sequence[NextTurn]) -> list[int]:
    """Deal the groups to folds by chance, the same each time."""
    groups = sorted({row.group for row in rows})
    place = dict(zip(groups, np.random.default_rng(0).integers(0, FOLDS, len(groups)).tolist(), strict=True))
    return [place[row.group] for row in rows]


def fit(material: Material, data: str) -> ReactionModel:
    """Fit the weights on everything, and the calibration on predictions across folds."""
    predicted = cross_validated(material)
    measured = [number for number, name in enumerate(material.origin) if name in _MEASURED]
    calibration = calibrate(predicted, material, measured, data)
    every = np.full(len(material.y), True)
    intercept, *weights = (round(float(w), 4) for w in regression(material, every))
    vectors, at = {}, len(material.names)
    for name, size in material.vectors.items():
        vectors[name] = tuple(weights[at : at + size])
        at += size
    named = dict(zip(material.names, weights, strict=False))
    return ReactionModel(intercept=intercept, weights=named, vectors=vectors, calibration=calibration)


def calibrate(predicted: Vector, material: Material, rows: Sequence[int], data: str = "") -> Calibration:
    """Fit the calibration on what was predicted of some rows that had no part in their weights."""
    outcomes = [(float(predicted[n]), bool(material.y[n])) for n in rows]
    slope, intercept = fit_calibration(outcomes, prior=_CALIBRATION_PRIOR)
    return Calibration(
        labeller="reaction",
        slope=round(slope, 4),
        intercept=round(intercept, 4),
        rows=len(rows),
        fitted=datetime.now(UTC).date().isoformat(),
        data=data,
    )


def cross_validated(material: Material) -> Vector:
    """Return for each row the uncalibrated probability by weights that its fold had no part in."""
    predicted = np.zeros(len(material.rows))
    for number in np.unique(material.fold):
        out = material.fold == number
        weights = regression(material, ~out)
        scores = weights[0] + material.X[out] @ weights[1:]
        predicted[out] = [logistic(float(score)) for score in scores]
    return predicted


def regression(material: Material, chosen: NDArray[np.bool_]) -> Vector:
    """Return intercept and weights [1 + features] of the likeliest logistic regression (Newton's method)."""
    X, y, w = material.X[chosen], material.y[chosen], material.w[chosen]
    design = np.column_stack([np.ones(len(X)), X])
    penalty = np.concatenate([[1e-6], material.penalty])
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (w * (p - y)) + penalty * beta
        curvature = (design * (w * p * (1 - p))[:, None]).T @ design + np.diag(penalty)
        step = np.linalg.solve(curvature, gradient)
        beta -= step
        if np.abs(step).max() < 1e-6:
            break
    return beta


if __name__ == "__main__":
    main()
