"""The system that the demo runs: how it ends, and what is said of it. `up` is a script that ends badly."""

from pathlib import Path

import pytest

from agent.demo.system import System
from policies.errors import HeedloopError

ENDS_BADLY = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
print("up", flush=True)
while True:
    signal.pause()
"""


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    script = tmp_path / "up.py"
    script.write_text(ENDS_BADLY)
    return script


async def started(entry: Path) -> System:
    system = await System.start(entry, entry.parent / "home", {})
    log = entry.parent / "home" / "up.log"
    while "up" not in log.read_text():  # it hears SIGTERM from then on
        pass
    return system


async def test_a_bad_end_is_an_error(entry: Path) -> None:
    with pytest.raises(HeedloopError, match="ended with exit code 1"):
        async with await started(entry):
            pass


async def test_a_bad_end_does_not_hide_what_went_wrong_before(entry: Path) -> None:
    with pytest.raises(HeedloopError, match="the baseline did not come"):
        async with await started(entry):
            raise HeedloopError("the baseline did not come")
