"""The loop's reading of the server's log of answers."""

from __future__ import annotations

import json
from pathlib import Path

from agent.answers import read_answers
from policies.answers import ANSWER_LOG, OLDER_ANSWER_LOG
from store.database import Store

LINE = {"path": "/v1/completions", "status": 200, "outcome": "finished", "digests": ["d"]}
LINE |= {"started": ["v", 1, 10], "ended": ["v", 2, 20]}


def line(name: str) -> str:
    return json.dumps(LINE | {"id": name}) + "\n"


def ids(store: Store) -> list[str]:
    return [row["response_id"] for row in store.rows("SELECT response_id FROM answers ORDER BY seq")]


def read(store: Store, folder: Path) -> None:
    while read_answers(store, folder):
        pass


def test_each_line_is_kept_once_across_rotations_and_what_is_torn_is_counted(
    store: Store, tmp_path: Path
) -> None:
    assert not read_answers(store, tmp_path)
    path = tmp_path / ANSWER_LOG
    path.write_text(line("a") + "nonsense\n" + line("b")[:-9])
    read(store, tmp_path)
    assert ids(store) == ["a"]
    with path.open("a") as log:
        log.write(line("b")[-9:] + line("c"))
    path.rename(tmp_path / OLDER_ANSWER_LOG)
    path.write_text(line("d"))
    read(store, tmp_path)
    read(store, tmp_path)
    assert ids(store) == ["a", "b", "c", "d"]
    assert dict(store.rows("SELECT name, value FROM counters")) == {"answers": 4, "answers_unreadable": 1}


def test_a_log_that_was_turned_over_twice_is_read_from_what_is_left(store: Store, tmp_path: Path) -> None:
    path, older = tmp_path / ANSWER_LOG, tmp_path / OLDER_ANSWER_LOG
    path.write_text(line("a"))
    read(store, tmp_path)
    for name in ("b", "c"):
        path.rename(older)
        path.write_text(line(name))
    read(store, tmp_path)
    assert ids(store) == ["a", "b", "c"]
