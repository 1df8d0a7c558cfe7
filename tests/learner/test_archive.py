"""Versions as files."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from learner.archive import Archive
from learner.trainer import TrainerState
from learner.versioning.files import Damaged
from policies.errors import GuardRefused
from store.versions import Version

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


def version_of(file: str | None, sha256: str | None = None) -> Version:
    fields = {"parent": None, "kind": "train", "first_step": 1, "last_step": 2, "fingerprint": "f"}
    return Version.model_validate({"id": "v1", "file": file, "sha256": sha256, "created": 0, **fields})


def saved(archive: Archive, value: torch.Tensor) -> Version:
    stored = archive.save("v1", lambda _: value, ["a"])
    return version_of(stored.file, stored.sha256)


def test_what_was_saved_comes_back_bit_for_bit_and_the_rest_is_the_base(archive: Archive) -> None:
    value = torch.randn(4).to(torch.bfloat16)
    version = saved(archive, value)
    found = dict(archive.tensors(version, NAMES))
    assert torch.equal(found["a"].view(torch.int16), value.view(torch.int16))
    assert torch.equal(found["b"], torch.ones(4))
    assert set(found) == set(NAMES)
    assert set(dict(archive.tensors(version))) == {"a", "b", "c"}
    assert archive.changed(version) == {"a"}


def test_what_equals_the_base_takes_no_room(archive: Archive) -> None:
    stored = archive.save("v1", lambda name: torch.zeros(4) if name == "a" else torch.ones(4) * 2, NAMES)
    assert (stored.tensors, stored.full_bytes) == (1, 32)
    assert archive.changed(version_of(stored.file)) == {"b"}


def test_the_base_version_has_no_file(archive: Archive) -> None:
    assert torch.equal(dict(archive.tensors(version_of(None), NAMES))["a"], torch.zeros(4))


def test_the_pointer_names_version_step_and_model_and_who_stands_in(archive: Archive) -> None:
    version, parent = version_of("x.version", "5a"), version_of(None).model_copy(update={"id": "v0"})
    retired = version_of("y.version").model_copy(update={"state": "dropped"})
    archive.point([version, retired, parent])
    pointer = archive.folder / "live.json"
    assert json.loads(pointer.read_text()) == {
        "version": version.id,
        "step": 2,
        "file": "x.version",
        "sha256": "5a",
        "model_hash": "hash",
        "ancestors": [{"version": "v0", "step": 2, "file": None, "sha256": None}],
    }
    assert stat.S_IMODE(pointer.stat().st_mode) == 0o600
    assert not list(archive.folder.glob("*.partial"))


def test_a_damaged_or_foreign_file_is_refused_and_named(archive: Archive, model_dir: Path) -> None:
    version = saved(archive, torch.ones(4))
    foreign = Archive(archive.folder, model_dir, "another hash")
    with pytest.raises(GuardRefused, match="another base model"):
        list(foreign.tensors(version, NAMES))
    path = archive.folder / str(version.file)
    whole = path.read_bytes()
    for torn in (b"", b"torn", whole[:-1], whole[: len(whole) // 2], whole[:40] + b"!" + whole[41:]):
        path.write_bytes(torn)
        assert not archive.is_sound(version)
        with pytest.raises(Damaged, match=r"v1\.version is damaged"):
            list(archive.tensors(version, NAMES))
        with pytest.raises(GuardRefused, match=r"v1\.version"):  # without the recorded hash, too
            list(archive.tensors(version.model_copy(update={"sha256": None}), NAMES))
    path.unlink()
    with pytest.raises(Damaged, match="cannot be read"):
        list(archive.tensors(version, NAMES))


def test_a_trainer_comes_back_bit_for_bit_and_its_remainders_take_half(archive: Archive) -> None:
    weight = torch.randn(64, 32).to(torch.bfloat16)
    exact = weight.float() + torch.randn(64, 32) * 1e-3
    exact[0, 0] = 1 + 2**-8  # a tie: half a unit in the last place, which rounds to the even 1
    live = exact.to(torch.bfloat16)
    remainder = exact - live.float()
    assert remainder[0, 0] == 2**-8
    odd = torch.full((3,), 0.3)  # no rounding leaves that
    state = TrainerState(
        {"first/a": torch.randn(4), "remainder/a": remainder, "remainder/b": odd}, {"seed": 3, "steps": 7}
    )
    weights = {"a": live, "b": torch.ones(3, dtype=torch.bfloat16)}
    written = archive.save_trainer("v1", state, weights.__getitem__)
    version = version_of(None).model_copy(update={"trainer": written.file, "trainer_sha256": written.sha256})
    found = archive.trainer(version, weights.__getitem__)
    assert found.numbers == state.numbers
    assert found.tensors.keys() == state.tensors.keys()
    for name, value in state.tensors.items():
        assert torch.equal(found.tensors[name].view(torch.int32), value.view(torch.int32)), name
    assert written.bytes < remainder.nbytes * 0.75
    path = archive.folder / written.file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(Damaged, match=r"v1\.trainer is damaged"):
        archive.trainer(version, weights.__getitem__)


def test_what_no_version_needs_is_swept_away(archive: Archive) -> None:
    version = saved(archive, torch.ones(4))
    for name in ("old.version", "old.trainer", "v2.partial"):
        (archive.folder / name).touch()
    (archive.folder / "notes.txt").touch()
    archive.point([version])
    assert set(archive.sweep([version.file])) == {"old.version", "old.trainer", "v2.partial"}
    assert {path.name for path in archive.folder.iterdir()} == {version.file, "live.json", "notes.txt"}
