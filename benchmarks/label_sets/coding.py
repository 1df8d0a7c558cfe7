"""Next turns of coding sessions (silver labels of one reader)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.label_sets.next_turn import NextTurn, as_case, read_lines

_FOLDER = Path("B") / "coding_feedback"


def files(data: Path) -> list[Path]:
    """Return the files of the set; none where it is absent."""
    return sorted((data / _FOLDER).glob("*.jsonl"))


def read(data: Path) -> list[NextTurn]:
    """Read the rows with a clear label. One group a session; what the row says is all there is of it."""
    rows = []
    for path in files(data):
        for row in read_lines(path):
            if not row["ambiguous"]:
                case = as_case((), row["prev_assistant"], row["user"])
                rows.append(NextTurn(case, row["label"] == "ignore", row["session"], row["subtype"]))
    return rows
