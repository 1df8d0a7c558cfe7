"""The learning rate that is chosen: the most gain without too much harm, and none where nothing is sure."""

from typing import Any

from learner.experiments.lr import bounds_of, chosen
from policies.config import GuardConfig

BOUNDS = bounds_of(GuardConfig())
BASE = {"follow": [0.0] * 20, "leak": [0.0] * 20, "facts": [1.0] * 20, "nll": [2.0] * 8, "kl": [0.0] * 8}


def cell(rate: float, follow: float, seed: int = 0, **harm: float) -> dict[str, Any]:
    """A share of 20 prompts is followed; `leak` and `facts` are shares, `nll` and `kl` means."""
    return {
        "rate": rate,
        "seed": seed,
        "follow": [float(i < follow * 20) for i in range(20)],
        "leak": [float(i < harm.get("leak", 0) * 20) for i in range(20)],
        "facts": [float(i < harm.get("facts", 1) * 20) for i in range(20)],
        "nll": [harm.get("nll", 2.0)] * 8,
        "kl": [harm.get("kl", 0.01)] * 8,
    }


def test_the_harmless_rate_that_gains_most_is_recommended() -> None:
    cells = [cell(1e-6, 0), cell(1e-4, 0.5), cell(3e-4, 0.9), cell(1e-3, 1.0, nll=2.4)]
    choice = chosen(cells, BASE, BOUNDS)
    assert choice.rate == 3e-4
    assert choice.harmless == (1e-6, 1e-4, 3e-4)
    assert choice.as_good == (3e-4, 3e-4)


def test_each_kind_of_harm_excludes_a_rate() -> None:
    for harm in ({"leak": 0.1}, {"facts": 0.9}, {"nll": 2.2}, {"kl": 0.9}):
        assert chosen([cell(1e-4, 0.5), cell(1e-3, 1.0, **harm)], BASE, BOUNDS).rate == 1e-4, harm


def test_of_equal_gains_the_one_nearest_to_the_base_is_taken_and_the_interval_has_both() -> None:
    cells = [cell(1e-4, 0.8, kl=0.02), cell(3e-4, 0.8, kl=0.2), cell(1e-6, 0.0)]
    choice = chosen(cells, BASE, BOUNDS)
    assert choice.rate == 1e-4
    assert choice.as_good == (1e-4, 3e-4)


def test_nothing_is_recommended_where_nothing_gains_or_all_harm() -> None:
    assert chosen([cell(1e-4, 0.0), cell(1e-3, 0.05)], BASE, BOUNDS).rate is None
    assert chosen([cell(1e-4, 0.9, kl=0.9), cell(1e-3, 1.0, kl=0.9)], BASE, BOUNDS).rate is None
