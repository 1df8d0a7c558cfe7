"""`make bench`: it runs every benchmark as it stands there, and one that fails does not take the others."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
NAMES = re.findall(r"(?m)^BENCHMARKS := (.+)$", MAKEFILE)[0].split()
EXAMPLE = re.findall(r'(?m)^bench:.*NAME=(\w+) ARGS="(--\w+)"', MAKEFILE)


def options(name: str) -> list[ast.Call]:
    """Return where the command line of a benchmark gets its options."""
    module = ROOT / "benchmarks" / name
    source = module / "__main__.py" if module.is_dir() else module.with_suffix(".py")
    calls = [node for node in ast.walk(ast.parse(source.read_text())) if isinstance(node, ast.Call)]
    return [c for c in calls if isinstance(c.func, ast.Attribute) and c.func.attr == "add_argument"]


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_of_make_bench_runs_without_options(name: str) -> None:
    assert options(name)
    for option in options(name):
        assert ast.literal_eval(option.args[0]).startswith("--"), ast.unparse(option)
        assert all(keyword.arg != "required" for keyword in option.keywords), ast.unparse(option)


def test_the_example_of_the_makefile_is_true() -> None:
    ((name, option),) = EXAMPLE
    assert option in {ast.literal_eval(one.args[0]) for one in options(name)}


def test_one_that_fails_is_named_in_the_end_and_the_others_are_run(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "ran $2 $3"\n[ "$2" != benchmarks.labels ]\n')
    python.chmod(0o755)
    command = ["make", "-C", str(ROOT), "-o", ".venv/.ready", "bench", f"VENV={tmp_path}", "ARGS=--json"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode != 0
    assert re.findall(r"ran benchmarks\.(\w+) --json", ended.stdout) == NAMES
    assert "failed: labels\n" in ended.stdout
    ended = subprocess.run([*command, "NAME=step ui"], capture_output=True, text=True, check=False)
    assert (ended.returncode, "failed" in ended.stdout) == (0, False)
