"""Parts of a benchmark that was interrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.parts import Parts
from policies.errors import ConfigError


def test_a_part_is_measured_once_and_not_mixed_with_one_of_other_texts(tmp_path: Path) -> None:
    path, measured = tmp_path / "parts.json", []

    def measure() -> dict[str, Any]:
        measured.append(1)
        return {"follow": 0.5}

    assert Parts(path, ["Why?"]).get("base", measure) == {"follow": 0.5}
    assert Parts(path, ["Why?"]).get("base", measure) == {"follow": 0.5}
    assert measured == [1]
    with pytest.raises(ConfigError, match=r"parts\.json: measured on other texts or sizes"):
        Parts(path, ["Why?", "How?"])
