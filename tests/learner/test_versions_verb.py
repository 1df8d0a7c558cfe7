"""`run.py versions ...` on a home in which something was really learned."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_system import System, learned_system
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from learner.verbs.versions import commands
from policies.errors import ConfigError, GuardRefused, HeedloopError, InputError
from store import versions
from store.versions import Version


@pytest.fixture(scope="module")
def system(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A learner that has learned all there is, in a few versions."""
    system = learned_system(tmp_path_factory.mktemp("versions-verb"), smollm2_path)
    yield system
    system.close()


def run(system: System, *arguments: str) -> Any:
    """Run a verb; its mistakes are raised, its JSON is read."""
    home = str(system.store.path.parent)
    ended = CliRunner().invoke(commands, arguments, env={"HEEDLOOP_HOME": home, "COLUMNS": "300"})
    if ended.exception is not None and isinstance(ended.exception, HeedloopError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout) if "--json" in arguments else ended.stdout


def trained(system: System) -> list[Version]:
    return [v for v in versions.every(system.store) if v.kind == "train"]


def test_the_list_shows_the_graph_sizes_and_moments(system: System) -> None:
    rows = run(system, "list", "--json")
    assert [row["kind"] for row in rows] == ["base", *["train"] * len(trained(system))]
    assert [row["parent"] for row in rows] == [None, *(row["id"] for row in rows[:-1])]
    assert all(0 < row["bytes"] < row["full_bytes"] and row["save_ms"] > 0 for row in rows[1:])
    assert {row["moments"] for row in rows[1:]} == {"kept"}
    assert rows[-1]["id"] in run(system, "list")


def test_a_tag_names_a_version_and_a_note_is_added(system: System) -> None:
    first, second, *_ = trained(system)
    run(system, "tag", first.id, "good-one")
    with pytest.raises(InputError, match="already names another"):
        run(system, "tag", second.id, "good-one")
    assert versions.require(system.store, "good-one").id == first.id
    run(system, "note", "good-one", "before the holidays")
    run(system, "note", first.id, "and after")
    row = run(system, "list", "--json")[1]
    assert (row["tags"], row["note"]) == (["good-one"], "before the holidays; and after")
    run(system, "tag", first.id, "good-one", "--remove")
    assert versions.get(system.store, "good-one") is None
    with pytest.raises(InputError, match="no single version"):
        run(system, "note", "nonsense", "x")


def test_diff_tells_what_moved_by_how_much(system: System) -> None:
    first, second, *_ = trained(system)
    found = run(system, "diff", first.id, second.id, "--json")
    before, after = (dict(system.archive.tensors(v)) for v in (first, second))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert {one["name"] for one in found["tensors"]} == moved
    one = found["tensors"][0]
    change = after[one["name"]].float() - before[one["name"]].float()
    assert one["norm"] == pytest.approx(float(change.norm()), rel=1e-5)
    assert one["changed_share"] == pytest.approx(float((change != 0).float().mean()))
    assert found["probes"]["nll"]["items"] == 1
    assert run(system, "diff", first.id, first.id, "--json")["tensors"] == []


def test_bisect_finds_the_version_that_broke_a_probe_by_record_and_by_measuring(system: System) -> None:
    path = trained(system)
    with system.store.write() as connection:  # the probe broke at the third version
        for index, version in enumerate(path):
            connection.execute(
                "INSERT INTO probe_values SELECT id, 'made', 0, ? FROM probes WHERE version_id = ?",
                (json.dumps({"a": float(index >= 2)}), version.id),
            )
    good = path[0].id
    found = run(system, "bisect", "made", "--good", good, "--json")
    assert (found["first_bad"], found["last_good"]) == (path[2].id, path[1].id)
    assert found["steps"] == f"{path[2].first_step}-{path[2].last_step}"
    assert {one["source"] for one in found["looked_at"]} == {"recorded"}
    with pytest.raises(InputError, match="nothing broke"):
        run(system, "bisect", "made", "--good", path[2].id, "--json")
    with pytest.raises(InputError, match="no ancestor"):
        run(system, "bisect", "made", "--good", path[2].id, "--bad", good)
    measured = run(system, "bisect", "kl", "--measure", "--json")
    assert {one["source"] for one in measured["looked_at"]} == {"measured"}
    assert measured["looked_at"][0]["value"] == pytest.approx(0, abs=1e-3)  # other batches, in bf16
    broken = {one["version"]: one["broken"] for one in measured["looked_at"]}
    assert broken[measured["first_bad"]]
    assert not broken[measured["last_good"]]


def test_bisect_measures_with_the_probes_of_the_user(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = tmp_path / "probes.yaml"
    probes.write_text("a probe that is none\n")
    monkeypatch.setenv("HEEDLOOP_GUARD__PROBES_FILE", str(probes))
    with pytest.raises(ConfigError, match=r"probes.yaml: a list of probes is expected"):
        run(system, "bisect", "own", "--measure", "--json")


def test_an_exported_version_is_a_checkpoint_with_the_live_weights(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    run(system, "export", "live", str(folder), "--json")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    live = dict(system.lineage.live_tensors(system.live.names))
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.view(torch.int16), live[name].view(torch.int16)), name
    assert AutoTokenizer.from_pretrained(folder).get_vocab()
    assert json.loads((folder / "heedloop.json").read_text())["version"] == system.lineage.version.id
    with pytest.raises(ConfigError, match="not empty"):
        run(system, "export", "live", str(folder))
    base = load_file(system.archive.model_dir / "model.safetensors")
    run(system, "export", "base", str(tmp_path / "base"))
    same = load_file(tmp_path / "base" / "model.safetensors")
    assert all(torch.equal(same[name], base[name]) for name in base)


def test_an_export_is_its_owners_alone_whatever_the_umask_and_the_folder_before(
    system: System, tmp_path: Path
) -> None:
    folder = tmp_path / "exported"
    folder.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        run(system, "export", "live", str(folder))
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}


def test_prune_keeps_the_newest_the_named_and_what_they_need(
    system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEEDLOOP_GUARD__KEEP_VERSIONS", "2")
    monkeypatch.setenv("HEEDLOOP_GUARD__KEEP_TRAINER_STATES", "1")
    path = trained(system)
    assert len(path) >= 4
    run(system, "tag", path[0].id, "first")
    would = run(system, "prune", "--dry-run", "--json")
    assert would["versions"] == [v.id for v in path[1:-2]]
    assert all((system.archive.folder / str(v.file)).exists() for v in path)
    assert run(system, "prune", "--json") == would
    kept = {path[0].file, path[-2].file, path[-1].file, path[-1].trainer, "live.json"}
    assert {p.name for p in system.archive.folder.iterdir()} == kept
    gone = versions.require(system.store, path[1].id)
    assert gone.state == "dropped"
    with pytest.raises(GuardRefused, match="was retired"):
        system.lineage.require_restorable(gone)
    with pytest.raises(InputError, match="was retired"):
        run(system, "export", gone.id, "/nowhere")


def test_rolling_back_and_forward_again_is_exact_and_counts_each_step_once(system: System) -> None:
    first, newest = trained(system)[0], trained(system)[-1]
    before = system.live.fingerprint()
    confirmed = "SELECT count(*) AS n FROM steps WHERE state = 'confirmed'"
    steps_before = system.store.rows(confirmed)[0]["n"]
    back = system.lineage.roll_back(first, "trial")
    assert back.bit_for_bit
    assert back.version.moments == "fresh"  # its state was pruned, and history says so
    assert system.store.rows(confirmed)[0]["n"] == (first.last_step or 0)
    again = system.lineage.roll_back(newest, "after all")
    assert again.bit_for_bit
    assert again.version.moments == "restored"
    assert system.live.fingerprint() == before
    assert system.store.rows(confirmed)[0]["n"] == steps_before


def test_a_damaged_version_falls_back_to_a_sound_ancestor_and_its_steps_are_taken_again(
    system: System,
) -> None:
    version = system.lineage.version
    path = system.archive.folder / str(version.file)
    whole = path.read_bytes()
    path.write_bytes(whole[:-3])
    system.lineage.settle()  # the live bytes are its own: the file is written anew
    assert system.archive.is_sound(system.lineage.version)
    damaged = system.lineage.version
    with system.live.publishing("elsewhere", 0):  # as after a restart of the server
        pass
    (system.archive.folder / str(damaged.file)).write_bytes(b"")
    system.lineage.settle()
    now = system.lineage.version
    assert now.kind == "rollback"
    assert f"{damaged.file} is damaged" in now.note
    assert versions.require(system.store, damaged.id).state == "damaged"
    assert system.live.fingerprint() == now.fingerprint
    assert system.live.position().version == now.id
    alerts = [row["payload"] for row in system.store.rows("SELECT payload FROM outbox")]
    assert any("is damaged: went back to version" in alert for alert in alerts)
    assert system.store.rows("SELECT count(*) AS n FROM steps WHERE state = 'redo'")[0]["n"] > 0


@pytest.mark.parametrize("name", ["model.layers.1.mlp.up_proj.weight", "model.embed_tokens.weight"])
def test_wrong_bytes_under_the_right_position_are_written_anew_at_a_start(system: System, name: str) -> None:
    assert ("embed" in name) == (name not in system.trainer.parameters)  # what never learns, too
    version, position, before = system.lineage.version, system.live.position(), system.live.read(name)
    with system.live.publishing(position.version, position.step):
        system.live.write(name, before * 2)
    assert system.lineage.settle() == 0
    assert system.lineage.version == version
    assert system.live.fingerprint() == version.fingerprint
    assert torch.equal(system.live.read(name), before)
    alerts = [row["payload"] for row in system.store.rows("SELECT payload FROM outbox")]
    assert f"marked as version {version.id}, but are not its bytes" in alerts[-1]


def test_applied_tensors_are_a_version_of_their_own_and_undone_bit_for_bit(system: System) -> None:
    parent, before = system.lineage.version, system.live.fingerprint()
    name = "model.layers.0.mlp.up_proj.weight"
    value = system.live.read(name) * 2
    version = system.lineage.apply("vector", "louder", [(name, value)])
    assert torch.equal(system.live.read(name), value)
    assert (version.kind, version.parent, system.live.position().version) == (
        "vector",
        parent.id,
        version.id,
    )
    assert torch.equal(dict(system.archive.tensors(version, [name]))[name], value)
    assert system.lineage.roll_back(parent, "undo").quarantined == 0
    assert system.live.fingerprint() == before

    def broken() -> Iterator[tuple[str, torch.Tensor]]:
        yield name, value
        raise ValueError("out of tensors")

    with pytest.raises(ValueError, match="out of tensors"):
        system.lineage.apply("vector", "half", broken())
    assert system.live.fingerprint() == before
