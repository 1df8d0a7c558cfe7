"""What the demo shows while it runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Sample:
    """One look at the running system; `follow` and `leak` are shares, `step` counts training steps."""

    second: float
    act: str
    step: int
    follow: float | None = None
    leak: float | None = None
    prompts: int = 0
    loss: float | None = None
    note: str = ""


@dataclass
class Board:
    """Collects samples and shows them on stderr."""

    began: float = field(default_factory=time.time)
    samples: list[Sample] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None

    def __enter__(self) -> Board:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def second(self) -> float:
        """Return the seconds since the demo began."""
        return time.time() - self.began

    def say(self, act: str, note: str) -> None:
        """Show a line of text."""
        self.add(Sample(self.second(), act, self.samples[-1].step if self.samples else 0, note=note))

    def add(self, sample: Sample) -> None:
        """Show one sample."""
        self.samples.append(sample)
        if self._live is not None:
            self._live.update(self._table(), refresh=True)
        else:
            self._console.print("  ".join(_cells(sample)), highlight=False, soft_wrap=True)

    def _table(self) -> Group:
        table = Table(title="heedloop demo", expand=False)
        for name in ("second", "act", "step", "follows", "leaks", "loss", "what happens"):
            table.add_column(name)
        for sample in self.samples[-24:]:
            table.add_row(*_cells(sample))
        return Group(table, Text("the client keeps asking without a pause", style="dim"))


def _cells(sample: Sample) -> tuple[str, ...]:
    return (
        f"{sample.second:6.1f}",
        f"{sample.act:<9}",
        f"{sample.step:3d}",
        "   -" if sample.follow is None else f"{sample.follow:4.2f}",
        "   -" if sample.leak is None else f"{sample.leak:4.2f}",
        "    -" if sample.loss is None else f"{sample.loss:5.2f}",
        sample.note or (f"{sample.prompts} held-out prompts" if sample.prompts else ""),
    )
