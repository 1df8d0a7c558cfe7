from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.label_sets.constraints import Row, demands, expected, measure, tuned_keys
from policies.constraints import Constraint
from policies.constraints.length import WordCount
from policies.constraints.punctuation import NoCharacter

ROWS: list[dict[str, Any]] = [
    {"key": 1, "prompt": "Name a metal without any commas. Use at least 5 words.",
     "instruction_id_list": ["punctuation:no_comma", "length_constraints:number_words"],
     "kwargs": [{}, {"num_words": 5, "relation": "at least", "keywords": None}]},
    {"key": 2, "prompt": "Name a gas, in a way that I like.", "instruction_id_list": ["punctuation:no_comma"],
     "kwargs": [{}]},
]  # fmt: skip
ANSWERS: list[dict[str, Any]] = [
    {"key": 1, "response": "Tin is a metal", "follow_instruction_list": [True, False]},
    {"key": 2, "response": "Neon, say.", "follow_instruction_list": [True]},  # a wrong verdict
]


def write(folder: Path, rows: list[dict[str, Any]]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_measure(tmp_path: Path) -> None:
    write(tmp_path / "A/ifeval/input_data.jsonl", ROWS)
    write(tmp_path / "A/ifeval/gpt4_strict_labels.jsonl", ANSWERS)
    found = measure(tmp_path)
    assert (found["agreement"], found["agreement_n"]) == (0.6667, 3)
    assert (found["text_precision"], found["text_precision_n"]) == (1.0, 2)
    assert (found["text_recall"], found["text_recall_n"]) == (0.6667, 3)
    low, high = found["text_recall_interval"]
    assert 0.2 < low < 0.6667 < high < 0.95
    assert found["held_out"]["rows"] == 1


def test_absent_files_are_named(tmp_path: Path) -> None:
    write(tmp_path / "A/ifeval/input_data.jsonl", ROWS)
    assert measure(tmp_path) == {"absent": ["A/ifeval/gpt4_strict_labels.jsonl"]}


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ([WordCount(3, 9)], [WordCount(3, None), WordCount(None, 9)], True),
        ([WordCount(3, None)], [WordCount(4, None)], False),
        ([NoCharacter("comma")], [NoCharacter("semicolon")], False),
    ],
)
def test_two_wordings_of_a_demand_are_equal(
    one: list[Constraint], other: list[Constraint], equal: bool
) -> None:
    assert (demands(one) == demands(other)) is equal


def test_the_split_depends_on_the_keys_alone() -> None:
    rows = [Row(key, "", ()) for key in range(40)]
    assert len(tuned_keys(rows)) == 30
    assert tuned_keys(rows) == tuned_keys(rows[::-1])
    assert expected(rows[0], None) == []
