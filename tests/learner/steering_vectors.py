"""A steering vector for tests that do not care what it does."""

from __future__ import annotations

from typing import Any

from learner.steering.file import SteeringVector


def steering_vector(**fields: Any) -> SteeringVector:
    """Return a vector with the given fields; the rest is of no meaning."""
    return SteeringVector.model_validate(
        {
            "name": "s",
            "model_hash": "h",
            "method": "mean",
            "layer": 1,
            "strength": 1.0,
            "norm": 1.0,
            "pairs": 3,
            "source": "test",
        }
        | fields
    )
