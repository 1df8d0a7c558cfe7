"""The skip account, with a real run of pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_passes():
    pass

@pytest.mark.gpu
def test_cuda():
    pytest.skip("no CUDA device")

@pytest.mark.bf16
def test_packed():
    pytest.skip("no packed kernel")
"""
SKIPS = """
@pytest.mark.skipif(True, reason="mosquitto is not installed")
def test_broker():
    pass
"""


def run_pytest(
    folder: Path, source: str, require: str | None, *arguments: str
) -> subprocess.CompletedProcess[str]:
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu\n    bf16\n")
    (folder / "test_it.py").write_text(source)
    environment = {name: value for name, value in os.environ.items() if name != "HEEDLOOP_REQUIRE"}
    if require:
        environment["HEEDLOOP_REQUIRE"] = require
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "tests.skips", "-p", "no:cacheprovider"]
    command += arguments
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_last_line_counts_skips_with_their_reasons(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, TESTS + SKIPS, require=None)
    assert done.returncode == 0, done.stdout + done.stderr
    reasons = "1 no CUDA device; 1 no packed kernel; 1 mosquitto is not installed"
    assert done.stdout.splitlines()[-1] == f"heedloop: 1 passed, 0 failed, 3 skipped ({reasons})"


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("source", "code"), [(TESTS, 0), (TESTS + SKIPS, 1)])
def test_where_all_is_required_only_other_hardware_is_a_reason_to_skip(
    tmp_path: Path, source: str, code: int, workers: str
) -> None:
    done = run_pytest(tmp_path, source, "sh", "-n", workers)
    assert done.returncode == code
    assert ("HEEDLOOP_REQUIRE forbids it: test_it.py::test_broker" in done.stdout) == bool(code)


def test_module_that_skips_itself_counts_too(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, 'import pytest\npytest.importorskip("no_such_module")\n', require="sh")
    assert done.returncode != 0
    assert "1 skipped (1 could not import 'no_such_module'" in done.stdout.splitlines()[-1]


def test_required_program_that_is_absent_stops_the_run(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, TESTS, require="sh,no-such-program")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "HEEDLOOP_REQUIRE names what is not installed: no-such-program" in done.stderr
