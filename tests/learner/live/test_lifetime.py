"""An engine process ends with the process that spawned it, however that one ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from learner.live.manifest import process_started

PROGRAM = """
import multiprocessing, os, sys, time
from learner.live.lifetime import die_with_parent

def engine(path):
    die_with_parent()
    with open(path, "w") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(600)

if __name__ == "__main__":
    die_with_parent()  # not a child of multiprocessing: nothing happens
    child = multiprocessing.get_context("spawn").Process(target=engine, args=(sys.argv[1],))
    child.start()
    while not (os.path.exists(sys.argv[1]) and open(sys.argv[1]).read().endswith("\\n")):
        time.sleep(0.02)
    os.kill(os.getpid(), 9)
"""


def test_an_engine_dies_with_a_killed_server(tmp_path: Path) -> None:
    program, told = tmp_path / "server.py", tmp_path / "pid"
    program.write_text(PROGRAM)
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    subprocess.run([sys.executable, str(program), str(told)], env=env, check=False, timeout=120)
    engine = int(told.read_text())
    deadline = time.monotonic() + 30
    while process_started(engine) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert process_started(engine) is None
