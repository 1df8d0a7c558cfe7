"""How often the status is read for the bus."""

from __future__ import annotations

import pytest

from agent.publishing import HEARTBEAT_S, POLL_S, look_again_s


@pytest.mark.parametrize(
    ("took_s", "pause_s"), [(0.0, POLL_S), (0.04, POLL_S), (0.2, 4.0), (60.0, HEARTBEAT_S)]
)
def test_a_status_that_takes_long_to_count_is_read_less_often(took_s: float, pause_s: float) -> None:
    assert look_again_s(took_s) == pytest.approx(pause_s)
