"""The processes beside a server under load: the writer, and a busy loop as control."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.launcher import tied

NICE = 19
_BUSY = "import time\nwhile True: pass"


class WriterProcess:
    """Tells `benchmarks.serving.writer` what to do. Commands that go on end with the next one."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, command: str) -> None:
        """Begin something that goes on until `stop`."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the command before."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the writer ended; its errors are above")
        return dict(json.loads(line))

    def stop(self) -> dict[str, Any]:
        """End what goes on, and return what it says."""
        self.start("idle")
        said = self.answer()
        self.answer()
        return said

    def ask(self, command: str) -> dict[str, Any]:
        """Do one thing and return its answer."""
        self.start(command)
        return self.answer()


@contextmanager
def writing(model_dir: Path, arena: Path) -> Iterator[WriterProcess]:
    """Run a writer for the time of the block, at the priority that `run.py up` gives the learner."""
    argv = tied([sys.executable, "-m", "benchmarks.serving.writer", str(model_dir), str(arena)], nice=NICE)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        argv, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    writer = WriterProcess(process)
    try:
        writer.answer()
        yield writer
    finally:
        process.kill()
        process.wait()


@contextmanager
def busy() -> Iterator[None]:
    """Run a nice'd busy loop for the time of the block: what any background work at all would cost."""
    process = subprocess.Popen(tied([sys.executable, "-c", _BUSY], nice=NICE))
    try:
        yield
    finally:
        process.kill()
        process.wait()
