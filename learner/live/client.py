"""The writing side: attaches to the arena of a running server and changes its weights in place."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from learner.live.arena import Arena
from learner.live.control import ControlPage, Position
from learner.live.folder import BORROWED
from learner.live.manifest import NAME, Manifest, parse_manifest, read_manifests
from learner.live.privacy import require_private
from learner.live.steering import silence
from learner.live.tensors import LiveTensors
from policies.errors import ConfigError, GuardRefused, Unreachable, UnsupportedModel


class LiveWeights:
    """The live weights of one server, of all its ranks. Made by `attach`.

    Writing needs `with live.publishing(version, step):`, which makes sure, once, that the server that is
    mapped here still serves. A server that came back is another generation: close, and attach again.
    """

    def __init__(self, folder: Path, parts: Sequence[tuple[Manifest, Arena]], lock: int | None) -> None:
        self.folder, self._parts = folder, parts
        self.manifest = parts[0][0]
        self._lock, self._open = lock, False
        self._tensors = LiveTensors(parts)
        self._pages = [ControlPage(memoryview(arena.map)) for _, arena in parts]
        self._page = self._pages[0]  # the one that says what the bytes are
        self._seen: tuple[int, int] | None = None  # the manifest file that was last found to be ours
        self.names = self._tensors.names

    @classmethod
    def attach(cls, arena: Path, exclusive: bool = True) -> LiveWeights:
        """Map the arena; `exclusive` makes this the one writer and undoes what a killed `borrowed` left.

        Raises Unreachable (no server, dead or just restarted), GuardRefused (another writer), ConfigError
        (damaged manifest), UnsupportedModel (weights that are not live).
        """
        lock = _lock(arena) if exclusive else None
        try:
            manifests = read_manifests(arena)
            for manifest in manifests:
                _require_sound(arena, manifest)
            live = cls(arena, [(manifest, Arena.open(arena, manifest)) for manifest in manifests], lock)
            if not live._pages_are_ours():
                raise Unreachable(f"{arena}: manifest and weights are of two servers; is one just starting?")
            if exclusive:
                live._return_borrowed()
        except BaseException:
            if lock is not None:
                os.close(lock)
            raise
        return live

    @property
    def generation(self) -> str:
        """Random id of the server process whose weights these are."""
        return self.manifest.generation

    @property
    def ranks(self) -> int:
        """How many ranks the server spreads its weights over."""
        return len(self._parts)

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a parameter, as in the checkpoint."""
        return self._tensors.shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """Type that the server keeps a parameter in: bfloat16, of a few small ones (A_log) float32."""
        return self._tensors.dtype(name)

    def read(self, name: str) -> Tensor:
        """A copy of the live parameter, in its checkpoint shape and the server's dtype."""
        return self._tensors.read(name)

    def view(self, name: str) -> Tensor | None:
        """The live memory itself, or None where the server packs it. Read through it; write with `write`."""
        return self._tensors.view(name)

    def write(self, name: str, tensor: Tensor) -> None:
        """Write a parameter (bfloat16, or float32 rounded to nearest) wherever the server holds it.

        Raises GuardRefused outside `publishing` or without the lock, ConfigError for a wrong name or shape.
        """
        if not self._open:
            raise GuardRefused(f"{name}: live weights are written inside `publishing` only")
        self._tensors.write(name, tensor)

    @contextmanager
    def publishing(self, version: str, step: int) -> Iterator[LiveWeights]:
        """Let writes happen, then mark them as `step` of `version`. A failing body marks nothing: its caller
        restores.

        Raises Unreachable when the server is gone or new, before the first write and again before the mark.
        """
        if self._lock is None:
            raise GuardRefused(f"{self.folder}: attached to read only; attach with exclusive=True to write")
        self._require_current()
        outer, self._open = self._open, True
        try:
            yield self
        finally:
            self._open = outer
        self.mark(version, step)

    def mark(self, version_id: str, step: int) -> Position:
        """Say what the bytes are now; the epoch grows by one. Raises as `publishing` does."""
        if self._lock is None:
            raise GuardRefused(f"{self.folder}: attached to read only; attach with exclusive=True to write")
        self._tensors.settle()
        self._require_current()
        return self._page.mark(version_id, step)

    @property
    def steering_shape(self) -> tuple[int, int]:
        """Layers and width of the steering buffer."""
        layers, width = self.manifest.steering.shape
        return layers, width

    @property
    def steers(self) -> bool:
        """Whether anything is added to the residual stream now."""
        return self._page.steers

    def steering(self) -> Tensor:
        """A copy of what is added to the residual stream after each layer: bfloat16 [layers, width]."""
        manifest, arena = self._parts[0]
        return arena.tensor(manifest.steering).view(manifest.steering.shape).clone()

    def steer(self, rows: Tensor | None) -> None:
        """Add `rows` [layers, width] to the residual stream from now on; None: nothing, bit for bit.

        It is no write of weights, and needs no `publishing`; who wants cached prefixes of before left alone
        marks a version afterwards. Raises GuardRefused without the lock, ConfigError for another shape or
        values that are not finite.
        """
        if self._lock is None:
            raise GuardRefused(f"{self.folder}: attached to read only; attach with exclusive=True to steer")
        self._require_current()
        if rows is not None:
            _require_rows(rows, self.steering_shape)
        for manifest, arena in self._parts:
            buffer = arena.tensor(manifest.steering).view(manifest.steering.shape)
            if rows is None:
                silence(buffer)
            else:
                buffer.copy_(torch.where(rows == 0, -0.0, rows))
        self._tensors.settle()
        for page in self._pages:
            page.say_steers(rows is not None)

    def position(self) -> Position:
        """(version, step, epoch) that the bytes were last marked with."""
        return self._page.position()

    def fingerprint(self) -> str:
        """blake2b over the served bytes of every tensor (packed, with second copies; no control, no
        steering).
        """
        return self._tensors.fingerprint()

    def is_current(self) -> bool:
        """Whether the server whose memory this is still runs and has not been replaced."""
        path = self.folder / NAME
        try:
            seen = _identity(path)
            if seen != self._seen and parse_manifest(path.read_text(), path).generation != self.generation:
                return False
        except FileNotFoundError:
            return False
        self._seen = seen
        return all(manifest.owner_alive() for manifest, _ in self._parts) and self._pages_are_ours()

    def _pages_are_ours(self) -> bool:
        return all(page.belongs_to(self.generation) for page in self._pages)

    @contextmanager
    def borrowed(self, name: str) -> Iterator[tuple[str, Tensor]]:
        """Change one parameter for a moment: yields name and value, and writes it back bit for bit at the
        end.

        The value lies in a file meanwhile: if this process is killed, the next exclusive attach writes it
        back.
        """
        value = self.read(name)
        fresh = self.folder / f"{BORROWED}.new"
        save_file({name: value}, fresh, metadata={"generation": self.generation})
        os.replace(fresh, self.folder / BORROWED)
        try:
            yield name, value
        finally:
            self._return_borrowed()

    def _return_borrowed(self) -> None:
        path = self.folder / BORROWED
        if path.exists():
            position = self.position()
            with self.publishing(position.version, position.step):
                for name, value in load_file(path).items():
                    self.write(name, value)
            path.unlink()

    def _require_current(self) -> None:
        if not self.is_current():
            raise Unreachable(
                f"{self.folder}: generation {self.generation} is gone (server stopped or restarted)"
            )

    def close(self) -> None:
        """Let another writer attach. The mapping itself goes when the last tensor on it does."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _require_sound(folder: Path, manifest: Manifest) -> None:
    if not manifest.owner_alive():
        raise Unreachable(f"{folder}: the server that owned it (pid {manifest.pid}) is gone; start it again")
    if manifest.lost or manifest.unmapped:
        raise UnsupportedModel(f"{folder}: {(manifest.lost + manifest.unmapped)[0]} is not live")


def _require_rows(rows: Tensor, shape: tuple[int, int]) -> None:
    if tuple(rows.shape) != shape:
        raise ConfigError(f"steering: {tuple(rows.shape)} given, the server has {shape} (layers, width)")
    if not bool(torch.isfinite(rows).all()):
        raise ConfigError("steering: a value is not a finite number; nothing was written")


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _lock(folder: Path) -> int:
    """Lock the manifest for the single writer. Raises GuardRefused when another process has it."""
    path = folder / NAME
    try:
        require_private(folder)
        require_private(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unreachable(
            f"{path}: no live weights here; is the server up, with --load-format live?"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not path.exists() or os.fstat(descriptor).st_ino != path.stat().st_ino:
            raise Unreachable(f"{path}: replaced this moment, a server is starting; attach again")
    except BlockingIOError as error:
        os.close(descriptor)
        raise GuardRefused(f"{folder}: another process is writing these weights; only one may") from error
    except Unreachable:
        os.close(descriptor)
        raise
    return descriptor
