"""Engines of vLLM with live weights, without a server around them: 3 s each, where a server takes 20."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engines import ENVIRONMENT


class Engines:
    """The program engines.py, asked one model at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._log = folder, (folder / "engines.log").open("wb")
        command = [sys.executable, str(Path(__file__).with_name("engines.py"))]
        env = os.environ | ENVIRONMENT | {"PYTHONPATH": str(Path(__file__).parents[3])}
        self._process = subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )

    def inspect(self, model: Path, mode: str = "usual") -> dict[str, Any]:
        """What the checks say of a model."""
        arena = Path("/dev/shm") / f"heedloop-tests-{os.getpid()}-{model.name}"
        try:
            return self._run(model, arena, mode)
        finally:
            shutil.rmtree(arena, ignore_errors=True)

    def hold(self, model: Path, arena: Path) -> int:
        """Process id of an engine that serves from the arena until it is killed."""
        return int(self._run(model, arena, "hold")["pid"])

    def refusal(self, model: Path, arena: Path) -> str:
        """Why an engine does not serve a model from the arena."""
        return str(self._run(model, arena, "hold")["refused"])

    def _run(self, model: Path, arena: Path, mode: str) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(json.dumps({"model": str(model), "arena": str(arena), "mode": mode}) + "\n")
        stdin.flush()
        line = stdout.readline()
        assert line, (self._folder / "engines.log").read_text()[-8000:]
        outcome: dict[str, Any] = json.loads(line)
        return outcome

    def close(self) -> None:
        """End the program, and with it every engine."""
        self._process.communicate()
        self._log.close()


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    program = Engines(tmp_path_factory.mktemp("engines"))
    yield program
    program.close()
