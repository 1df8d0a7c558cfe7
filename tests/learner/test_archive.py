"""Versions as files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learner.archive import Archive
from policies.errors import GuardRefused
from store.versions import Version, new_version

NAMES = ["a", "b"]


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.zeros(4), "b": torch.ones(4), "c": torch.ones(1)}, folder / "model.safetensors")
    return folder


@pytest.fixture
def archive(tmp_path: Path, model_dir: Path) -> Archive:
    return Archive(tmp_path / "versions", model_dir, "hash")


def version_of(file: str | None) -> Version:
    return new_version(None, "train", first_step=1, last_step=2, file=file, fingerprint="f")


def test_what_was_saved_comes_back_bit_for_bit_and_the_rest_is_the_base(archive: Archive) -> None:
    value = torch.randn(4).to(torch.bfloat16)
    file = archive.save("v1", lambda _: value, ["a"])
    found = dict(archive.tensors(version_of(file), NAMES))
    assert torch.equal(found["a"].view(torch.int16), value.view(torch.int16))
    assert torch.equal(found["b"], torch.ones(4))
    assert set(found) == set(NAMES)


def test_the_base_version_has_no_file(archive: Archive) -> None:
    assert torch.equal(dict(archive.tensors(version_of(None), NAMES))["a"], torch.zeros(4))


def test_the_pointer_names_version_step_and_model(archive: Archive) -> None:
    version = version_of("x.safetensors")
    archive.point(version, 7)
    pointer = archive.folder / "live.json"
    assert json.loads(pointer.read_text()) == {
        "version": version.id,
        "step": 7,
        "file": "x.safetensors",
        "model_hash": "hash",
    }
    assert stat.S_IMODE(pointer.stat().st_mode) == 0o600
    assert not list(archive.folder.glob("*.partial"))


def test_a_damaged_or_foreign_file_is_refused(archive: Archive, model_dir: Path) -> None:
    file = archive.save("v1", lambda _: torch.zeros(4), NAMES)
    foreign = Archive(archive.folder, model_dir, "another hash")
    with pytest.raises(GuardRefused, match="another base model"):
        list(foreign.tensors(version_of(file), NAMES))
    (archive.folder / file).write_bytes(b"torn")
    with pytest.raises(GuardRefused, match="cannot be read"):
        list(archive.tensors(version_of(file), NAMES))


def test_a_removed_version_is_gone(archive: Archive) -> None:
    file = archive.save("v1", lambda _: torch.zeros(4), NAMES)
    archive.remove(version_of(file))
    with pytest.raises(GuardRefused):
        list(archive.tensors(version_of(file), NAMES))
