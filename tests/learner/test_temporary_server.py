"""A server for the time of a block: why it did not start, and that nothing of it is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from learner.temporary_server import SHARED, reason, temporary_server
from policies.config import ServerConfig
from policies.errors import Unreachable


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (
            "(EngineCore) ERROR [core.py:1] policies.errors.GuardRefused: /a: another server\nmore",
            "/a: another",
        ),
        ("x\npydantic_core.ValidationError: \n  max_model_len is too long\n    at b", "max_model_len is too"),
        (
            "ERROR [core.py:7] AssertionError: first\nRuntimeError: See root cause",
            "not start: AssertionError: f",
        ),
    ],
)
def test_the_reason_is_found_in_a_log(log: str, told: str) -> None:
    assert told in str(reason(log))
    assert reason("WARNING x.py: OSError: [Errno 24] would be possible") is None


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(tmp_path: Path) -> None:
    arena = SHARED / f"heedloop-tests-{tmp_path.name}"
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "no such thing"}')
    with (
        pytest.raises(Unreachable, match=r"the server did not start: .*no such thing"),
        temporary_server(ServerConfig(model="m"), tmp_path / "model", arena, tmp_path),
    ):
        raise AssertionError("nothing is served")
    assert not arena.exists()
