"""What a learner keeps in memory of all the examples that ever passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_system import CORRECTIONS, System, correction_of, learned_system

from learner.rounds import TWINS_AHEAD
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


def test_a_flood_of_corrections_is_prepared_a_little_at_a_time_and_trained_from_the_oldest_on(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("learner.rounds.WINDOW", 12)
    flood = [f"f{number:02}" for number in range(20)]
    with system.store.write() as connection:
        for name in flood:
            example = correction_of(name, f"What is a flood, {name}?", f"A FLOOD, {name}", "A flood.")
            examples.upsert_correction_example(connection, example, 1)

    def prepared() -> list[str]:
        return sorted(name for name in system.trainer.row_book.example_ids if name in flood)

    assert system.rounds.prepare()
    assert prepared() == flood[:TWINS_AHEAD]
    assert not system.rounds.prepare()
    assert prepared() == flood[:12], "of what is not in the window no rows are made"

    def trained() -> set[str]:
        rows = system.store.rows("SELECT example_id FROM step_rows")
        return {str(row["example_id"]) for row in rows} & set(flood)

    system.rounds.run(lambda: bool(trained()))
    assert trained() <= set(flood[:12])
    while examples.pending(system.store):
        system.rounds.run(lambda: False)
    assert trained() == set(flood)


def test_rows_of_turns_that_are_no_replay_any_more_are_dropped(system: System) -> None:
    corrections = {f"e{number}" for number in range(CORRECTIONS)}
    pool = {f"g{number}" for number in range(4)}
    for day in range(3):
        newest = ordinary_turns(system, day)
        system.rounds.prepare()
        assert system.trainer.row_book.example_ids == newest | pool | corrections
        assert set(system.rounds._known) == newest | pool | corrections


def test_rows_of_old_turns_are_dropped_while_a_round_goes_on_and_on(system: System) -> None:
    corrections = {f"e{number}" for number in range(CORRECTIONS)}
    pool = {f"g{number}" for number in range(4)}
    days: list[set[str]] = []

    def next_day() -> bool:
        """Between two steps: the agent goes on talking, and is corrected again."""
        if len(days) < 4:
            days.append(ordinary_turns(system, len(days)))
            with system.store.write() as connection:
                more = correction_of(f"n{len(days)}", f"Day {len(days)}?", f"DAY {len(days)}", "A day.")
                examples.upsert_correction_example(connection, more, 1)
        return False

    system.rounds.run(next_day)
    assert len(days) == 4
    held = system.trainer.row_book.example_ids
    assert not held & (days[0] | days[1] | days[2])
    assert held <= days[3] | pool | corrections | {"n1", "n2", "n3", "n4"}
