"""From planted measurements to the answers that they call for."""

import random
from typing import Any

import pytest

from learner.experiments import mechanisms
from learner.experiments.mechanism import conclusions
from learner.experiments.mechanism.finding import Cell, Finding, Unmeasured
from learner.experiments.report import Report

ITEMS = 40


def scores(seed: int, name: str, follow: float, leak: float) -> dict[str, list[float]]:
    draw = random.Random(f"{seed}/{name}")
    share = {"follow": follow, "paraphrase": follow, "leak": leak, "leak_other": leak, "facts": 0.8}
    drawn = {kind: [float(draw.random() < p) for _ in range(ITEMS)] for kind, p in share.items()}
    return {**drawn, "nll": [2.0 + draw.random() / 100 for _ in range(5)]}


def masses(direction: float, wobble: float = 0.0) -> list[dict[str, list[float]]]:
    return [
        {
            "direction": [direction + i / 1e4 + wobble * (-1) ** i] * 2,
            "question": [0.1] * 2,
            "rest": [0.5] * 2,
            "answer": [0.2] * 2,
        }
        for i in range(10)
    ]


def inside(rise: float, top: float) -> dict[str, Any]:
    tensor = {"layer": "0", "kind": "mlp", "elements": 9, "squares": 1.0, "rank": 0.5, "changed": 0.25}
    return {
        "noise": {"losses": [1.0] * 4, "rises": {"0.01": [[rise] * 4], "0.05": [[2 * rise, 3 * rise] * 2]}},
        "update": [tensor | {"top": top + i / 1000} for i in range(6)],
    }


def planted(
    *,
    attended: float = 0.3,
    wobble: float = 0.0,
    control: float = 0.22,
    queries: float = 0.1,
    top: float = 0.1,
    bare_leak: float = 0.5,
) -> list[Cell]:
    cells: list[Cell] = [
        {"recipe": "base", "seed": -1, "behaviour": scores(0, "base", 0.0, 0.0), "attention": masses(0.2)}
    ]
    for seed in (0, 1):
        rates = {"all": (0.9, 0.0), "queries": (queries, 0.0), "mlp": (0.9, 0.0), "attention": (0.5, 0.0)}
        rates |= {"adamw": (0.9, 0.0), "replay_0": (0.9, bare_leak), "replay_50": (0.9, 0.0)}
        rates |= {"agent_log": (0.9, 0.0)}
        found = {n: {"behaviour": scores(seed, n, *rate)} for n, rate in rates.items()}
        found["all"] |= inside(0.1, top) | {"attention": masses(attended, wobble)}
        found["adamw"] |= inside(0.2, 0.09)
        found["undirected"] = {"attention": masses(control)}
        cells += [{"recipe": name, "seed": seed, **cell} for name, cell in found.items()]
    return cells


@pytest.mark.parametrize(
    ("attended", "control", "verdict", "moved", "ends"),
    [
        (0.3, 0.22, "Yes: ", "rises (+10", "above"),
        (0.21, 0.22, "Yes, but not beyond the control: ", "rises (+1", "below"),
        (0.19, 0.18, "No: ", "falls (-1", "above"),
        (0.19, 0.22, "No: ", "falls (-1", "below"),
    ],
)
def test_attention_that_rises_beyond_the_control_is_a_yes_and_a_fall_is_told_as_a_fall(
    attended: float, control: float, verdict: str, moved: str, ends: str
) -> None:
    cells = planted(attended=attended, control=control)
    found = conclusions.attention(cells, cells[0])
    assert isinstance(found, Finding)
    assert found.answer.startswith(f"{verdict}the direction's share of attention {moved}")
    assert f"It ends {ends} the control's, which is trained on the same answers" in found.answer
    assert found.value == pytest.approx(attended - control)
    assert found.n == 20


def test_attention_that_wobbles_around_what_it_was_is_not_measurable() -> None:
    cells = planted(attended=0.2, wobble=0.05, control=0.2)
    found = conclusions.attention(cells, cells[0])
    assert isinstance(found, Finding)
    assert found.answer.startswith("Not measurable at this size: ")
    assert "does not measurably change" in found.answer
    assert "It ends not measurably apart from the control's" in found.answer


def test_a_part_that_does_not_learn_is_told_from_one_that_does() -> None:
    found = conclusions.parameters(planted(queries=0.1), gates=False)
    assert isinstance(found, Finding)
    assert found.interval[1] < 0
    assert "MLP alone" in found.answer.split(".")[0]
    assert "queries" not in found.answer.split(".")[0]
    assert "not measurable on this model" in found.answer
    same = conclusions.parameters(planted(queries=0.9), gates=True)
    assert isinstance(same, Finding)
    assert same.interval[0] < 0 < same.interval[1]
    assert "not measurable" not in same.answer


def test_parts_are_not_compared_where_the_whole_learned_nothing() -> None:
    cells = planted()
    for cell in cells:
        if cell["recipe"] == "all":
            cell["behaviour"]["follow"] = [0.0] * ITEMS
    assert isinstance(conclusions.parameters(cells, gates=False), Unmeasured)


def test_the_flatter_one_is_named() -> None:
    found = conclusions.flatness(planted())
    assert found.answer.startswith("Flatter: yes")
    assert found.value == pytest.approx(-0.25)
    assert "nearly equal loss" in found.answer


@pytest.mark.parametrize(("top", "said"), [(0.09, "No"), (0.95, "Yes")])
def test_sparse_is_what_holds_most_of_its_norm_in_one_percent(top: float, said: str) -> None:
    found = conclusions.sparsity(planted(top=top))
    assert found.answer.startswith(said)
    assert found.n == 12


def test_what_replay_protects_is_named_and_nothing_else() -> None:
    kept = conclusions.replayed(planted(bare_leak=0.5))
    assert kept.interval[0] > 0
    assert "told apart from zero: leak." in kept.answer
    none = conclusions.replayed(planted(bare_leak=0.0))
    assert "told apart from zero: none of them" in none.answer


LIVE = {
    "steps": 2,
    "tensors": 5,
    "equal_tensors": 5,
    "steps_halfway": [1],
    "counts": {
        "1": {
            "pass": {"same": 0, "before": 0, "after": 0, "neither": 6},
            "answer": {"same": 2, "before": 2, "after": 1, "neither": 1},
        }
    },
    "torn": [0.1, 0.3],
    "at_rest": 4,
    "at_rest_differ": 0,
}


def test_the_live_part_says_equal_only_of_all_bytes() -> None:
    same = conclusions.live(LIVE, 0)
    assert isinstance(same, Finding)
    assert same.answer.startswith("No: after 2 steps")
    assert same.value == pytest.approx(1 / 6)
    assert same.n == 6
    other = conclusions.live(LIVE | {"equal_tensors": 4}, 0)
    assert isinstance(other, Finding)
    assert other.answer.startswith("Yes")
    assert isinstance(conclusions.live("no server", 0), Unmeasured)


def test_every_picture_is_drawn_from_the_data_alone() -> None:
    cells = planted()
    data = {"cells": cells, "base": cells[0], "live": LIVE}
    read_back = Report.model_validate_json(
        Report(
            name="mechanisms",
            question="?",
            answer="!",
            measured="m",
            value=0.0,
            interval=(0.0, 0.0),
            n=1,
            seeds=(0, 1),
            method=(),
            model="m",
            model_hash="h",
            seconds=0.0,
            commit="c",
            data=data,
        ).model_dump_json()
    ).data
    for draw in mechanisms.PICTURES.values():
        assert all(axis.has_data() for axis in draw(read_back).axes)
