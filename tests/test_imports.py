"""Arrows run one way, and the always-on half never loads tensors."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORT_ALL = """
import importlib, json, pkgutil, sys
for name in ("policies", "store", "agent"):
    package = importlib.import_module(name)
    for module in pkgutil.walk_packages(package.__path__, f"{name}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
import run
print(json.dumps([name for name in ("torch", "vllm", "transformers") if name in sys.modules]))
"""


def test_agent_store_policies_and_run_load_without_torch_and_vllm() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", IMPORT_ALL], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_nothing_imports_the_command_line() -> None:
    rooms = [
        path for room in ("agent", "policies", "store", "learner") for path in (ROOT / room).rglob("*.py")
    ]
    guilty = [
        path for path in rooms if re.search(r"^\s*(import run\b|from run import)", path.read_text(), re.M)
    ]
    assert guilty == []


def test_import_contracts_hold() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    environment = {**os.environ, "COLUMNS": "200"}
    done = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout
