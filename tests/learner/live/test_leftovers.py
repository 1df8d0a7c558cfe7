"""What killed servers leave in shared memory goes; what somebody has mapped stays."""

from __future__ import annotations

import mmap
from pathlib import Path

from learner.live.leftovers import drop_segments

DEAD, ALIVE = "vllm_dist_aa-tp:0-[0-1]-cpushm_0", "vllm_dist_bb-tp:0-[0-1]-cpushm_0"


def test_only_segments_that_nobody_maps_are_removed(tmp_path: Path) -> None:
    for name in (DEAD, ALIVE, "heedloop-1", "vllm_dist_cc"):
        (tmp_path / name).write_bytes(bytes(4096))
    with (tmp_path / ALIVE).open("r+b") as file, mmap.mmap(file.fileno(), 4096):
        assert drop_segments(tmp_path, settled_s=-1) == [DEAD]
    assert {path.name for path in tmp_path.iterdir()} == {ALIVE, "heedloop-1", "vllm_dist_cc"}
    assert drop_segments(tmp_path, settled_s=-1) == [ALIVE]


def test_one_that_was_just_made_is_left_to_its_maker(tmp_path: Path) -> None:
    (tmp_path / DEAD).write_bytes(bytes(4096))
    assert drop_segments(tmp_path) == []
