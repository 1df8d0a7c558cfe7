"""What `run.py up` does before and around its children."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.up import only_one
from policies.errors import ConfigError


def test_a_second_up_on_one_home_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    with only_one(tmp_path), pytest.raises(ConfigError, match="in use by another"), only_one(tmp_path):
        pass
    with only_one(tmp_path):
        pass


def test_an_error_of_the_run_itself_is_not_taken_for_a_second_up(tmp_path: Path) -> None:
    with pytest.raises(BlockingIOError, match="try again"), only_one(tmp_path):
        raise BlockingIOError("try again")
