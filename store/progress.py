"""How far long work has come, on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Part = TypeVar("Part")
EVERY_S = 5.0
"""Seconds between two lines where there is no terminal; what takes less says nothing."""


class Progressing:
    """Shows the progress of one piece of work for the time of a `with` block.

    `total` is how much there is of it, None where nobody knows.
    """

    def __init__(self, what: str, total: int | None = None) -> None:
        self._what, self._total = what, total
        self._done = 0
        self._said = time.monotonic()
        self._bar = _bar() if sys.stderr.isatty() else None
        self._task = None if self._bar is None else self._bar.add_task(what, total=total)

    def __enter__(self) -> Progressing:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def at(self, detail: str) -> None:
        """Say what is worked on now."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"{self._what}: {detail}")
        else:
            self._line(detail)

    def advance(self, amount: int = 1) -> None:
        """Say that so much more of it is done."""
        self._done += amount
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task, amount)
        else:
            self._line("")

    def _line(self, detail: str) -> None:
        now = time.monotonic()
        if now - self._said >= EVERY_S:
            self._said = now
            of = "" if self._total is None else f" of {self._total}"
            sys.stderr.write(f"{self._what}: {self._done}{of}{f', {detail}' if detail else ''}\n")
            sys.stderr.flush()


def counted(what: str, parts: Iterable[Part], total: int | None = None) -> Iterator[Part]:
    """Yield the parts of some work, and show how many there were."""
    with Progressing(what, total) as progress:
        for part in parts:
            yield part
            progress.advance()


def _bar() -> Progress:
    """Return a bar that is gone when the work is done, so that nothing of it stays between the lines."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=True)
