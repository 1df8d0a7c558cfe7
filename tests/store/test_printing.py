"""Tables for people: readable at 80 columns, and harmless whatever an agent wrote."""

from __future__ import annotations

import pytest

from store.printing import print_table


def printed(capsys: pytest.CaptureFixture[str], *table: object) -> str:
    print_table(*table)  # type: ignore[arg-type]
    return capsys.readouterr().out


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_a_table_that_fits_is_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(
        capsys, "steps", ("step", "state", "loss"), [(1, "confirmed", 0.51234), (2, "dropped", None)]
    )
    rows = [line.split() for line in lines.splitlines()]
    assert ["step", "state", "loss"] in rows
    assert ["1", "confirmed", "0.5123"] in rows
    assert ["2", "dropped", "-"] in rows


def test_one_long_column_is_folded_and_the_others_stay_whole(capsys: pytest.CaptureFixture[str]) -> None:
    found = printed(capsys, "what", ("name", "detail"), [("learner", "word " * 60)])
    assert max(map(len, found.splitlines())) <= 80
    assert any(line.startswith(" learner  word word") for line in found.splitlines())


def test_a_table_with_too_many_columns_is_a_block_of_lines_for_each_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    columns = tuple(f"column {letter}" for letter in "abcdef")
    rows = [tuple(f"{letter}{number}-" + letter * 22 for letter in "abcdef") for number in range(2)]
    found = printed(capsys, "versions", columns, rows)
    assert max(map(len, found.splitlines())) <= 80
    for row in rows:
        for name, value in zip(columns, row, strict=True):
            assert f"  {name}  {value}" in [line.rstrip() for line in found.splitlines()]


def test_nothing_that_an_agent_wrote_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    said = "[/INST] [bold]loud[/bold] \x1b[2J\x07 two\nlines"
    found = printed(capsys, "[/b]", ("[x]",), [(said,)])
    assert "[/INST] [bold]loud[/bold]" in found
    assert "\x1b" not in found
    assert "\x07" not in found
    assert "[/b]" in found
    assert "[x]" in found


def test_no_rows_are_a_title_and_a_dash(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "held [here]", ("a",), []) == "held [here]: -\n"
