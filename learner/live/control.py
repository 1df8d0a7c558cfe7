"""The control page: the first page of an arena, 512 words of int64. It says which version the bytes are.

Words: 0 magic, 1 format, 2 generation, 3 epoch, 4 floor (the epoch of the last write that was no further
step of a version); from 16 and from 64 two slots (step, length of the version id, its bytes); from 128 the
words of `learner.live.load`. The epoch is the commit: slot `epoch % 2` is the valid one, so a writer killed
half-way leaves the old position. Word 8 is 1 while the steering buffer holds anything.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path

from learner.live.manifest import FORMAT, data_name
from policies.errors import ConfigError, Unreachable

PAGE = 4096
STEERS = 8
"""The word that says whether the steering buffer holds anything."""
_MAGIC = int.from_bytes(b"HEEDLOOP", "little")
_SLOTS = (16, 64)
_ID_WORDS = 32


@dataclass(frozen=True)
class Position:
    """What the live bytes are: `step` of version `version`, published `epoch` times since the server
    started.
    """

    version: str
    step: int
    epoch: int


class ControlPage:
    """The words of one mapped control page."""

    def __init__(self, page: memoryview) -> None:
        self._words = page[:PAGE].cast("B").cast("q")

    def format(self, generation: str, version: str, step: int) -> None:
        """Write a fresh page at epoch 0."""
        self._fill(0, version, step)
        self._words[1], self._words[2], self._words[3], self._words[4] = FORMAT, _word(generation), 0, 0
        self._words[0] = _MAGIC

    def belongs_to(self, generation: str) -> bool:
        """Whether this page was formatted by the server of that generation."""
        return (self._words[0], self._words[1], self._words[2]) == (_MAGIC, FORMAT, _word(generation))

    def mark(self, version: str, step: int) -> Position:
        """Publish a new position. Only the one writer may call it."""
        before = self.position()
        epoch = before.epoch + 1
        self._fill(epoch % 2, version, step)
        if version != before.version or step <= before.step:
            self._words[4] = epoch
        self._words[3] = epoch
        return Position(version, step, epoch)

    @property
    def epoch(self) -> int:
        """How often the bytes were marked since the server started."""
        return self._words[3]

    @property
    def floor(self) -> int:
        """Epoch of the last mark that was no further step of a version."""
        return self._words[4]

    def position(self) -> Position:
        """The last published position."""
        while True:
            epoch = self._words[3]
            slot = _SLOTS[epoch % 2]
            step, length = self._words[slot], self._words[slot + 1]
            text = self._words[slot + 2 : slot + 2 + _ID_WORDS].tobytes()[:length]
            if (
                self._words[3] == epoch
            ):  # else a mark went on meanwhile, and the next may write this very slot
                return Position(text.decode("ascii", "replace"), step, epoch)

    def _fill(self, which: int, version: str, step: int) -> None:
        text = version.encode("ascii")
        if len(text) > 8 * _ID_WORDS:
            raise ConfigError(
                f"version id of {len(text)} bytes; at most {8 * _ID_WORDS} fit the control page"
            )
        slot = _SLOTS[which]
        padded = memoryview(text.ljust(8 * _ID_WORDS, b"\0")).cast("q")
        self._words[slot + 2 : slot + 2 + _ID_WORDS] = padded
        self._words[slot], self._words[slot + 1] = step, len(text)

    @property
    def steers(self) -> bool:
        """Whether the steering buffer holds anything."""
        return bool(self._words[STEERS])

    def say_steers(self, steers: bool) -> None:
        """Say whether the steering buffer holds anything."""
        self._words[STEERS] = int(steers)

    def close(self) -> None:
        """Let go of the mapping."""
        self._words.release()


def map_page(folder: Path, *, write: bool = False) -> memoryview:
    """Map the control page of an arena. Raises Unreachable where there is none."""
    path = folder / data_name(0)
    try:
        with path.open("r+b" if write else "rb") as file:
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            return memoryview(mmap.mmap(file.fileno(), PAGE, access=access))
    except (FileNotFoundError, ValueError) as error:
        raise Unreachable(f"{path}: no live weights here; is the server up?") from error


def _word(generation: str) -> int:
    return int(generation, 16) >> 1  # 63 bits: the words are signed
