"""Memory that the learner is done with goes back to the system, or is not taken in the first place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import torch

from learner.allocator import give_back

ROOT = Path(__file__).parents[2]
OTHER_SHAPES = """
import sys, psutil, torch
from learner.allocator import keep_few_kernels
if "few" in sys.argv: keep_few_kernels()
torch.set_num_threads(1)
weight, process = torch.ones(64, 64, 3), psutil.Process()
torch.conv1d(torch.ones(1, 64, 100), weight)
before = process.memory_info().rss
for length in range(101, 901): torch.conv1d(torch.ones(1, 64, length), weight)
print(process.memory_info().rss - before)
"""


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


def test_machine_code_for_shapes_that_do_not_come_again_is_not_kept() -> None:
    few, all_of_them = (grown(which) for which in ("few", "all"))
    assert few < 0.5 * all_of_them


def grown(which: str) -> int:
    """Return by how much a process grows that convolves texts of 800 lengths."""
    unset = {name: value for name, value in os.environ.items() if not name.startswith("ONEDNN")}
    environment = {**unset, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", OTHER_SHAPES, which]
    return int(subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout)
