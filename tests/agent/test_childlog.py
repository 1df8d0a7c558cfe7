"""The log of one child: cut under its writer, and its last words."""

from __future__ import annotations

from pathlib import Path

from agent.childlog import ChildLog


def test_log_that_grew_too_long_is_moved_aside_under_its_writer(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "vllm.log", limit=100)
    with log.open() as output:
        output.write(b"x" * 200 + b"\nlast words\n")
        output.flush()
        assert log.last_line() == "last words"
        assert log.trim()
        assert not log.trim()
        output.write(b'{"event": "goes on", "level": "info"}\n')
    assert log.last_line() == "goes on"
    assert (tmp_path / "vllm.log.1").read_text().endswith("last words\n")


def test_last_line_is_of_the_present_process_only(tmp_path: Path) -> None:
    log = ChildLog(tmp_path / "loop.log")
    with log.open() as output:
        output.write(b"of the first\n")
    log.open().close()
    assert log.last_line() == ""
