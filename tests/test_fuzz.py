"""A short run of the fuzz targets: seeds, mutations of them, and texts of their alphabet."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import TARGETS, seeds

SEEDS = list(seeds())


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Cut, repeat, overwrite and join well-formed inputs."""
    data = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        place, length = draw(st.integers(0, len(data))), draw(st.integers(0, 20))
        data[place : place + length] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"null", b"[]", b"{}", b"1e999", b"-1", b'"\\ud800"', b"\0"])
        )
    return bytes(data) + draw(st.sampled_from([b"", b"\n", b"\n\n{", *SEEDS[:3]]))


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_is_read(target: str) -> None:
    for seed in SEEDS:
        TARGETS[target](seed)


@pytest.mark.parametrize("target", TARGETS)
@given(data=mutated() | st.binary(max_size=200))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_raises_but_what_it_says(target: str, data: bytes) -> None:
    TARGETS[target](data)


def test_an_input_can_be_run_again_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "crash"
    file.write_bytes(SEEDS[0])
    command = [sys.executable, "-m", "fuzz", "bus", str(file)]
    root = Path(__file__).parent.parent
    assert subprocess.run(command, cwd=root, check=False).returncode == 0
