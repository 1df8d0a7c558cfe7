"""Next turns of EURTAD dialogues: votes of up to three people, and errors with the reaction to them."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.label_sets.next_turn import NextTurn, as_case, read_lines

_FOLDER = Path("B") / "eurtad"
_VOTES, _ERRORS = "filtered_turns_votes.jsonl", "erroneous_with_reaction.jsonl"
_SPEAKER = re.compile(r"<(user|system)>")


def files(data: Path) -> list[Path]:
    """Return the files of the set; none where it is absent."""
    return [path for name in (_VOTES, _ERRORS) if (path := data / _FOLDER / name).is_file()]


def read(data: Path) -> list[NextTurn]:
    """Read the votes that have an outcome. One group a dialogue, whatever file it stands in."""
    rows = []
    for row in read_lines(data / _FOLDER / _VOTES):
        if row["label"] is not None:
            case = as_case((row["prev_user"],), row["prev_system"], row["user"])
            origin = row["file"].split("/")[2]
            rows.append(NextTurn(case, row["label"] == "correction", _group(row["user"]), origin))
    return rows


def read_errors(data: Path) -> list[NextTurn]:
    """Read the reactions to known errors: all but `Ignore and Continue` say that something is wrong.

    Material for fitting beside the votes, not for measuring: there is no turn without an error in it.
    """
    rows = []
    for row in read_lines(data / _FOLDER / _ERRORS):
        said = _SPEAKER.split(row["context"])
        asked = [text for speaker, text in zip(said[1::2], said[2::2], strict=True) if speaker == "user"]
        case = as_case(asked[-1:], row["error_text"], row["user_reaction"])
        kind = row["user_reaction_type"]
        rows.append(NextTurn(case, kind != "Ignore and Continue", _group(row["user_reaction"]), kind))
    return rows


def _group(reaction: str) -> str:
    """The files share dialogues under other names, and BABI shares sentences: same words, one group."""
    return " ".join(re.findall(r"[a-z]+", reaction.lower()))
