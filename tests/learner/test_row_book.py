"""What a learner keeps in memory of all the examples that ever passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_system import CORRECTIONS, System, learned_system

from policies.example import Example
from store import examples

ORDINARY = 32
"""So many of the agent's newest ordinary turns are replay."""


@pytest.fixture
def system(smollm2_path: Path, tmp_path: Path) -> Iterator[System]:
    learned = learned_system(tmp_path, smollm2_path)
    yield learned
    learned.close()


def ordinary_turns(system: System, day: int) -> set[str]:
    """Let the agent say so much that what it said before is no replay any more."""
    names = {f"o{day}.{number:02d}" for number in range(ORDINARY)}
    with system.store.write() as connection:
        for name in sorted(names):
            context = ({"role": "user", "content": f"What is {name}?"},)
            example = Example(id=name, kind="general", context=context, chosen="A day.", origin="ordinary")
            examples.add_general_example(connection, example)
    return names


def test_rows_of_turns_that_are_no_replay_any_more_are_dropped(system: System) -> None:
    corrections = {f"e{number}" for number in range(CORRECTIONS)}
    pool = {f"g{number}" for number in range(4)}
    for day in range(3):
        newest = ordinary_turns(system, day)
        system.rounds.prepare()
        assert system.trainer.row_book.example_ids == newest | pool | corrections
        assert set(system.rounds._known) == newest | pool | corrections
