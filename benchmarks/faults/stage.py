"""All that a fault may lay hands on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.faults.broker import Mosquitto
from benchmarks.faults.load import Load
from benchmarks.faults.proxy import Proxy
from benchmarks.faults.system import System

Proof = dict[str, Any]
"""What shows that the fault happened: process ids, inodes, byte counts, answers of the other side."""


@dataclass(frozen=True)
class Stage:
    """A running system under load. `broker` and `proxy` are None with the embedded broker."""

    system: System
    load: Load
    broker: Mosquitto | None
    proxy: Proxy | None
    random: random.Random


@dataclass(frozen=True)
class Fault:
    """`inflict` does it whole, its end included, and returns the proof. `victim`: whose recovery is timed."""

    name: str
    victim: str
    inflict: Callable[[Stage], Proof]
    replaced: tuple[str, ...] = ()
    """children that must have another process id afterwards"""
    needs: str = ""
    """mosquitto | embedded: where it can be inflicted at all"""
