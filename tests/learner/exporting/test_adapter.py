"""A version that was really learned, as an adapter: its files, its arithmetic, and what it loses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from small_system import System, learned_system
from typer.testing import CliRunner
from vllm.lora.peft_helper import PEFTHelper

from learner.verbs.export import commands
from policies.errors import ConfigError, HeedloopError, InputError
from store import versions


@pytest.fixture(scope="module")
def system(smollm2_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A learner that has learned all there is."""
    system = learned_system(tmp_path_factory.mktemp("adapter"), smollm2_path)
    yield system
    system.close()


def run(system: System, *arguments: str) -> Any:
    """Run a verb; its mistakes are raised, its JSON is read."""
    home = str(system.store.path.parent)
    ended = CliRunner().invoke(commands, arguments, env={"HEEDLOOP_HOME": home, "COLUMNS": "300"})
    if isinstance(ended.exception, HeedloopError):
        raise ended.exception
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout.splitlines()[-1]) if "--json" in arguments else ended.stdout


@pytest.fixture(scope="module")
def folders(system: System, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The live version as a whole model, and near it at rank 4 and at its full rank."""
    where = tmp_path_factory.mktemp("out")
    run(system, "model", "live", str(where / "whole"))
    run(system, "lora", "live", str(where / "r4"), "--rank", "4", "--no-measure")
    run(system, "lora", "live", str(where / "full"), "--energy", "1", "--no-measure")
    return {name: where / name for name in ("whole", "r4", "full")}


def merged(base: dict[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """W_base + alpha / r * B @ A, by the documentation of the format alone."""
    config, tensors = json.loads((folder / "adapter_config.json").read_text()), {}
    with safe_open(folder / "adapter_model.safetensors", "np") as file:
        stored = {key: torch.from_numpy(file.get_tensor(key)).double() for key in file.keys()}  # noqa: SIM118
    for module in {key.removeprefix("base_model.model.").split(".lora_")[0] for key in stored}:
        a, b = (stored[f"base_model.model.{module}.lora_{one}.weight"] for one in "AB")
        assert a.shape[0] == b.shape[1] == config["r"]
        product = config["lora_alpha"] / config["r"] * b @ a
        tensors[f"{module}.weight"] = base[f"{module}.weight"].double() + product
    return tensors


def test_base_plus_adapter_is_the_version_at_full_rank_and_near_it_below(
    system: System, folders: dict[str, Path]
) -> None:
    base = load_file(system.archive.model_dir / "model.safetensors")
    whole = load_file(folders["whole"] / "model.safetensors")
    full, near = merged(base, folders["full"]), merged(base, folders["r4"])
    changed = {n for n in base if base[n].ndim == 2 and not torch.equal(base[n], whole[n])}
    assert changed
    assert full.keys() == near.keys() == changed
    for name in changed:
        wanted = whole[name].double()
        change = wanted - base[name].double()
        torch.testing.assert_close(full[name], wanted, rtol=0, atol=1e-5 * change.abs().max().item())
        lost = torch.linalg.svdvals(change)[4:].square().sum().sqrt()
        assert (near[name] - wanted).norm().item() == pytest.approx(lost.item(), rel=1e-3, abs=1e-7)


def test_vllm_reads_the_adapter(folders: dict[str, Path]) -> None:
    helper = PEFTHelper.from_local_dir(str(folders["r4"]), max_position_embeddings=128)
    assert (helper.r, helper.vllm_lora_scaling_factor) == (4, 1.0)
    assert set(helper.target_modules) <= {f"{n}_proj" for n in ("q", "k", "v", "o", "gate", "up", "down")}


def test_what_is_lost_is_measured_and_written_down(system: System, tmp_path: Path) -> None:
    told = run(system, "lora", "live", str(tmp_path / "a"), "--rank", "2", "--json")
    assert set(told["measured"]) == {"base", "version", "adapter"}
    assert told["measured"]["version"]["kl"] == pytest.approx(0, abs=1e-3)
    assert told["measured"]["base"]["kl"] > told["measured"]["version"]["kl"]
    assert 0 < told["kept"] < 1
    page = (tmp_path / "a" / "README.md").read_text()
    assert f"{told['measured']['adapter']['nll']:.4f}" in page
    assert all(f"`{name}`" in page for name in told["left_out"])
    whole = load_file(system.archive.model_dir / "model.safetensors")
    assert all(whole[name].ndim == 1 for name in told["left_out"])
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir()} == {0o600}


def test_more_rank_keeps_more(system: System, tmp_path: Path) -> None:
    ranks = ("1", "8")
    kept = [
        run(system, "lora", "live", str(tmp_path / rank), "--rank", rank, "--no-measure", "--json")["kept"]
        for rank in ranks
    ]
    assert kept[0] < kept[1]
    reached = run(system, "lora", "live", str(tmp_path / "e"), "--energy", "0.6", "--no-measure", "--json")
    assert reached["kept"] >= 0.6 or reached["left_out"]


def test_nonsense_is_refused_and_leaves_nothing(system: System, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--rank and --energy"):
        run(system, "lora", "live", str(tmp_path / "a"), "--rank", "2", "--energy", "0.5")
    with pytest.raises(InputError, match="no matrix of a linear layer differs"):
        run(system, "lora", "base", str(tmp_path / "a"), "--no-measure")
    with pytest.raises(HeedloopError, match="nonesuch"):
        run(system, "lora", "nonesuch", str(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x").touch()
    with pytest.raises(ConfigError, match="is not empty"):
        run(system, "lora", "live", str(tmp_path / "b"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b"]
    assert versions.every(system.store)
