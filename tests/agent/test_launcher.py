"""What a child is before it becomes its program, and the cores it may get."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cores import physical_cores
from agent.launcher import tied


@pytest.mark.parametrize(("nice", "policy"), [(0, os.SCHED_OTHER), (7, os.SCHED_BATCH)])
def test_a_child_of_lower_priority_never_preempts_who_wakes_up(nice: int, policy: int) -> None:
    if os.nice(0) > 0:
        pytest.skip("these tests run at a lower priority themselves")
    code = "import os; print(os.sched_getscheduler(0), os.nice(0))"
    told = subprocess.run(
        tied([sys.executable, "-c", code], nice=nice), capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [str(policy), str(nice)]


def test_cpus_that_share_a_core_are_together_and_unknown_ones_are_alone(tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    assert physical_cores(tmp_path) == [[cpu] for cpu in allowed]
    for cpu in allowed:
        topology = tmp_path / f"cpu{cpu}" / "topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text("0-63\n")
    assert physical_cores(tmp_path) == [allowed]
    assert sorted(cpu for core in physical_cores() for cpu in core) == allowed
