"""Freed memory between what is still held goes back to the system."""

from __future__ import annotations

import psutil
import torch

from learner.allocator import give_back


def private_bytes() -> int:
    memory = psutil.Process().memory_info()
    return int(memory.rss - memory.shared)


def test_holes_between_held_tensors_are_given_back() -> None:
    size, count = 4096, 8000  # bytes; below the size from which a tensor has pages of its own
    tensors = [torch.ones(size // 4) for _ in range(count)]
    full = private_bytes()
    held = tensors[::16]
    tensors.clear()
    give_back()
    assert private_bytes() < full - 0.6 * size * count
    assert len(held) == count // 16
