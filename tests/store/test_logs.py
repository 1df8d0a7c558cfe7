"""Logs, as another process writes them."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from store.logs import configure_logs


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """Leave logging as pytest set it up."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_are_json_with_process_level_time_and_context() -> None:
    stream = io.StringIO()
    configure_logs("loop", stream=stream)
    with structlog.contextvars.bound_contextvars(agent="a1", version="v3"):
        structlog.get_logger().info("turn stored", event_id="e1", path=Path("x"))
    structlog.get_logger().info("later")
    first, second = lines_of(stream)
    assert str(first.pop("timestamp")).endswith("Z")
    assert first == {
        "event": "turn stored", "event_id": "e1", "path": "x", "agent": "a1", "version": "v3",
        "process": "loop", "level": "info",
    }  # fmt: skip
    assert "agent" not in second


def test_libraries_go_the_same_way() -> None:
    stream = io.StringIO()
    configure_logs("loop", stream=stream)
    logging.getLogger("some.library").warning("%s of %d", "one", 2, extra={"port": 5})
    logging.getLogger("httpx").info("every request")
    (line,) = lines_of(stream)
    assert (line["event"], line["level"], line["process"], line["port"]) == ("one of 2", "warning", "loop", 5)


def test_level_is_kept_and_exceptions_are_data() -> None:
    stream = io.StringIO()
    configure_logs("loop", level="warning", stream=stream)
    log = structlog.get_logger()
    log.info("unheard")
    try:
        raise ValueError("what went wrong")
    except ValueError:
        log.exception("failed")
    (line,) = lines_of(stream)
    assert line["event"] == "failed"
    assert line["exception"][0]["exc_value"] == "what went wrong"  # type: ignore[index]


def test_terminal_gets_readable_lines_and_the_file_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal()
    configure_logs("up", home=tmp_path, stream=terminal)
    structlog.get_logger().info("child ready", child="vllm")
    assert "child ready" in terminal.getvalue()
    assert "child=vllm" in terminal.getvalue()
    assert "\x1b" not in terminal.getvalue()
    file = tmp_path / "logs" / "up.log"
    assert json.loads(file.read_text())["child"] == "vllm"
    assert file.stat().st_mode & 0o777 == 0o600


def test_stdout_stays_free_for_data() -> None:
    code = """
import structlog
from store.logs import configure_logs
configure_logs("x")
structlog.get_logger().info("talk")
"""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, env={**os.environ}
    )
    assert done.stdout == ""
    assert json.loads(done.stderr)["event"] == "talk"
