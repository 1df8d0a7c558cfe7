"""Which cells the learning benchmark has, what of them is kept, and what is reported."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from benchmarks.learning.cells import BASELINES, OBJECTIVES, RATES, Cell, Results, cells_of
from benchmarks.learning.recipes import config_of
from benchmarks.learning.summary import summary
from policies.config import TrainingConfig


def found(follow: float, facts: float = -0.01) -> dict[str, Any]:
    hits = [1] * round(40 * follow) + [0] * (40 - round(40 * follow))
    return {
        "follow": {"json_key": follow},
        "follow_items": {"json_key": hits},
        "paraphrase": {"json_key": follow},
        **{"leak": 0.0, "leak_other": 0.025, "leak_no_system": 0.0, "quality": 0.6},
        **{"facts_delta": facts, "nll_ratio": 1.001, "train_seconds": 20.0},
        "n": {"paraphrase": 40, "leak": 40, "quality": 30, "facts": 204, "texts": 20},
        "moved": {"self_attn.q_proj": 0.01},
    }


def test_a_quick_run_is_two_seeds_of_five_cells_and_a_whole_one_has_all_that_is_compared() -> None:
    quick = [cell.name for cell in cells_of(range(2), quick=True, baselines=False)]
    assert len(quick) == 10
    assert quick[0] == "heedloop/json_key/1/0"
    whole = {cell.name for cell in cells_of(range(5), quick=False, baselines=True)}
    for recipe in BASELINES:
        assert {f"{recipe}/lowercase/10/4", f"{recipe}/five_directions/30/4"} <= whole
    for recipe in (*OBJECTIVES, *RATES):
        assert f"{recipe}/lowercase/10/4" in whole
    assert len(whole) == 5 * (9 + 2 * len(BASELINES) + len(OBJECTIVES) + len(RATES))


def test_a_line_that_a_kill_has_cut_is_measured_again_and_the_rest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "cells.jsonl"
    results = Results(path, "smollm2")
    results.add(Cell("json_key", 1, 0), found(0.5))
    results.add(Cell("json_key", 1, 1), found(1.0))
    path.write_bytes(path.read_bytes()[:-20])
    again = Results(path, "smollm2")
    assert set(again.known) == {"heedloop/json_key/1/0"}
    again.add(Cell("json_key", 1, 1), found(1.0))
    assert set(Results(path, "smollm2").known) == {"heedloop/json_key/1/0", "heedloop/json_key/1/1"}


def test_cells_of_another_model_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    Results(tmp_path / "cells", "one").add(Cell("json_key", 1, 0), found(0.5))
    assert Results(tmp_path / "cells", "other").known == {}


def test_the_report_has_the_keys_that_are_asked_for_with_intervals_over_seeds(tmp_path: Path) -> None:
    results = Results(tmp_path / "cells", "smollm2")
    for seed, follow in enumerate((0.5, 1.0)):
        results.add(Cell("json_key", 3, seed), found(follow, facts=-0.02 * seed))
        results.add(Cell("lowercase", 10, seed, "rate_1e-4"), found(follow))
    report = summary(results)
    cell = report["json_key"]["3"]
    assert {
        *("follow_rate", "interval", "leak", "leak_other", "quality", "paraphrase"),
        *("facts_delta", "nll_ratio", "train_seconds", "seeds"),
    } <= set(cell)
    assert (cell["follow_rate"], cell["seeds"], cell["items"]) == (0.75, 2, 80)
    assert cell["n"] == {"paraphrase": 80, "leak": 80, "quality": 60, "facts": 408, "texts": 40}
    low, high = cell["intervals"]["facts_delta"]
    assert math.isclose(high - low, 2 * 12.706 * 0.01, rel_tol=1e-6)  # Student's t of two seeds
    assert report["trade_off"]["rate_1e-4"]["lowercase_10"]["follow_rate"] == 0.75
    assert report["baselines"]["adamw"] == {}


def test_a_model_without_quality_has_a_report_that_says_so(tmp_path: Path) -> None:
    results = Results(tmp_path / "cells", "toy")
    results.add(Cell("json_key", 1, 0), found(0.0) | {"quality": None})
    assert summary(results)["json_key"]["1"]["quality"] is None


def test_a_recipe_is_heedloops_with_one_change() -> None:
    own = TrainingConfig()
    assert config_of("heedloop") == own == config_of("no_rehearsal")
    assert config_of("no_replay") == own.model_copy(update={"replay_kl_weight": 0.0})
    assert config_of("rate_4e-4").learning_rate == 4e-4
    with pytest.raises(ValueError, match="no recipe is called 'magic'"):
        config_of("magic")
