from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def agent_logs() -> Path:
    """The folder of real agent logs with their independent counts."""
    folder = Path(os.environ.get("HEEDLOOP_DATA", "../shared/data")) / "C"
    if not (folder / "expected_counts.json").is_file():
        pytest.skip("HEEDLOOP_DATA does not lead to the real agent logs")
    return folder
