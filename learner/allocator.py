"""What the C libraries keep of memory that the learner is done with, and how it gets back to the system."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

KERNELS = 64
"""Machine code that oneDNN keeps, one piece a shape of matrices: a step's, not those of all steps before."""


def keep_few_kernels() -> None:
    """Bound oneDNN's cache, unless the user did; it counts from the first operation of the process on.

    It keeps 1,024 pieces by itself. Each batch has other lengths, so a learner of a model in bf16 takes
    300 MB of them within a hundred steps, and none is used again.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(KERNELS))


def give_back() -> None:
    """Give the pages of all holes in the heap back: glibc's malloc_trim, nothing under another library.

    Between the tensors of steps and probes such holes are left; without it a learner grows for hours, though
    what it holds does not.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
