"""What the machine has: processor, GPU, memory, room."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from agent.diagnosis.finding import Finding, missing, ok, warn
from agent.diagnosis.weights import weight_bytes
from policies.config import Config

_GIB = 2**30
_BASE_GIB = 4.0
"""Server and learner without weights and key-value cache."""
_COPIES = 7
"""Of the bf16 weights, on a CPU: live; in fp32 the learner's, its remainders and the base."""


def processor(_: Config, __: Path) -> Iterator[Finding]:
    """Say whether vLLM's CPU kernels will run, and how many cores there are to share."""
    flags = _cpu_flags()
    if platform.machine() not in ("x86_64", "AMD64"):
        yield warn("processor", platform.machine(), "the CPU lock is for x86-64 only: see docs/setup.md")
    elif "avx512f" in flags:
        yield ok("processor", "AVX512" + (" with bf16" if "avx512_bf16" in flags else ""))
    elif "avx2" in flags:
        yield warn("processor", "AVX2 but no AVX512", "it runs; answers and training are slower")
    else:
        yield missing(
            "processor", "neither AVX2 nor AVX512", "vLLM's CPU build needs one: use another machine"
        )
    cores = len(os.sched_getaffinity(0))
    if cores < 2:
        yield warn("cores", str(cores), "server and learner share it: answers slow down while it learns")
    else:
        yield ok("cores", str(cores))


def gpu(_: Config, __: Path) -> Iterator[Finding]:
    """Say which GPUs there are and whether this installation can use them."""
    names = _gpus()
    if not names:
        yield ok("gpu", "none: everything runs on the CPU")
    elif _torch_is_for_cpu():
        advice = "to use it, install the extra `cuda`: see docs/setup.md"
        yield warn("gpu", f"{', '.join(names)}, but torch here is the CPU build", advice)
    else:
        yield ok("gpu", ", ".join(names))


def memory(config: Config, _: Path) -> Iterator[Finding]:
    """Compare the memory with what server and learner take on a CPU."""
    total = min(psutil.virtual_memory().total, _cgroup_limit())
    need = _BASE_GIB + config.server.kv_cache_gib + _COPIES * weight_bytes(config) / _GIB
    detail = f"{total / _GIB:.1f} GiB; server and learner of this model take about {need:.1f} GiB on a CPU"
    if total / _GIB >= need or _gpus():
        yield ok("memory", detail)
    else:
        yield warn("memory", detail, "choose a smaller server.model or server.kv_cache_gib")


def shared_memory(config: Config, _: Path) -> Iterator[Finding]:
    """Compare the room where the live weights are shared with their size."""
    folder = config.server.arena or Path("/dev/shm")
    need = weight_bytes(config)
    existing = _nearest(folder)
    free = shutil.disk_usage(existing).free
    detail = f"{existing}: {free / _GIB:.1f} GiB free; the live weights take {need / _GIB:.2f} GiB"
    if free >= need or _gpus():
        yield ok("shared memory", detail)
    else:
        advice = "enlarge /dev/shm (docker: --shm-size) or set server.arena to a larger tmpfs"
        yield missing("shared memory", detail, advice)


def disk(config: Config, home: Path) -> Iterator[Finding]:
    """Compare the free disk with what durable versions can take."""
    existing = _nearest(home)
    free = shutil.disk_usage(existing).free
    need = config.guard.keep_versions * weight_bytes(config) + _GIB
    detail = f"{existing}: {free / _GIB:.1f} GiB free; {config.guard.keep_versions} versions take up to "
    detail += f"{need / _GIB:.1f} GiB"
    if free >= need:
        yield ok("disk", detail)
    else:
        yield warn(
            "disk", detail, "free some, lower guard.keep_versions, or set HEEDLOOP_HOME to a larger disk"
        )


def _cpu_flags() -> set[str]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def _gpus() -> list[str]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=name", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.split("\n")[:-1] if done.returncode == 0 else []


def _torch_is_for_cpu() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _cgroup_limit() -> float:
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return float("inf") if text == "max" else float(text)


def _nearest(folder: Path) -> Path:
    """Return the folder or its nearest ancestor that exists."""
    folder = folder.expanduser().absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())
