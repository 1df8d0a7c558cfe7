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


def _nothing_to_do(stage: Stage, proof: Proof) -> Proof:
    return {}


def _nothing_wrong(proof: Proof) -> str | None:
    return None


@dataclass(frozen=True)
class Fault:
    """`inflict` does it whole, its end included, and returns the proof. `victim`: whose recovery is timed."""

    name: str
    victim: str
    inflict: Callable[[Stage], Proof]
    shown: Callable[[Proof], bool]
    """judges the proof: whether the fault happened at all; a round without it shows nothing"""
    replaced: tuple[str, ...] = ()
    """children that must have another process id afterwards"""
    needs: str = ""
    """mosquitto | embedded: where it can be inflicted at all"""
    follow: Callable[[Stage, Proof], Proof] = _nothing_to_do
    """what a user does about it while the recovery is timed; returns more of the proof"""
    wrong: Callable[[Proof], str | None] = _nothing_wrong
    """what the system itself should have made of it and did not"""
