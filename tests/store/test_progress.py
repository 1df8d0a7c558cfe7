"""Progress of long work: lines now and then where nobody sits at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from store import progress
from store.progress import Progressing, counted

SCRIPT = """
import time
from store.progress import counted
print(sum(counted("bricks", iter([1, 2, 3]), 3)))
"""


def test_short_work_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progressing("files", 3) as work:
        work.at("a.jsonl")
        work.advance()
    assert capsys.readouterr().err == ""


def test_long_work_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "EVERY_S", 0.0)
    with Progressing("files", 3) as work:
        work.at("a.jsonl")
        work.advance()
    assert list(counted("rows", [7, 8])) == [7, 8]
    said = capsys.readouterr()
    assert said.err == "files: 0 of 3, a.jsonl\nfiles: 1 of 3\nrows: 1\nrows: 2\n"
    assert said.out == ""


def test_on_a_terminal_there_is_a_bar_and_nothing_of_it_on_stdout() -> None:
    ours, theirs = pty.openpty()
    env = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=theirs, text=True, env=env, check=True
    )
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert ended.stdout == "6\n"
    assert "bricks" in seen
    assert "3/3" in seen
