"""Models and engine settings that cannot be live are named before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from learner.live.support import check_supported, refuse_engine
from policies.errors import ConfigError, UnsupportedModel

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}


def write(folder: Path, config: object, weights: bool = True) -> Path:
    (folder / "config.json").write_text(json.dumps(config))
    if weights:
        (folder / "model.safetensors").touch()
    return folder


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (LLAMA | {"quantization_config": {"quant_method": "awq"}}, "quantised"),
        (LLAMA | {"num_local_experts": 8}, "mixture of experts"),
        (LLAMA | {"text_config": {"num_experts": 64}}, "mixture of experts"),
        (LLAMA | {"kv_lora_rank": 512}, "MLA"),
        ({"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2"}, "mamba2"),
    ],
)
def test_known_bad_models_are_refused(tmp_path: Path, config: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        check_supported(write(tmp_path, config))


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no config\.json"):
        check_supported(tmp_path)
    with pytest.raises(UnsupportedModel, match="safetensors"):
        check_supported(write(tmp_path, LLAMA, weights=False))
    shards = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(shards))
    with pytest.raises(ConfigError, match=r"model-2\.safetensors is missing"):
        check_supported(tmp_path)
    with pytest.raises(ConfigError, match="no architecture"):
        check_supported(write(tmp_path, ["x"]))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="JSON"):
        check_supported(tmp_path)


def test_dense_models_pass(tmp_path: Path, tiny_qwen35_path: Path, smollm2_path: Path) -> None:
    check_supported(write(tmp_path, LLAMA))
    check_supported(tiny_qwen35_path)
    check_supported(smollm2_path)


def engine(**changes: Any) -> tuple[Any, Any]:
    model = {"quantization": None, "use_mla": False, "enable_sleep_mode": False, "enforce_eager": True}
    model |= {"dtype": torch.bfloat16, "experts": 0} | {k: v for k, v in changes.items() if k != "outer"}
    outer = {"speculative_config": None, "inductor": {}, "ranks": 1} | changes.get("outer", {})
    return (
        SimpleNamespace(
            parallel_config=SimpleNamespace(world_size_across_dp=outer["ranks"]),
            compilation_config=SimpleNamespace(inductor_compile_config=outer["inductor"]),
            speculative_config=outer["speculative_config"],
        ),
        SimpleNamespace(**model, get_num_experts=lambda: model["experts"]),
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"quantization": "fp8"}, "fp8"),
        ({"use_mla": True}, "MLA"),
        ({"experts": 8}, "mixture"),
        ({"enable_sleep_mode": True}, "sleep"),
        ({"dtype": torch.float16}, "bfloat16"),
        ({"enforce_eager": False}, "VLLM_USE_AOT_COMPILE=0"),
        ({"outer": {"speculative_config": object()}}, "speculative"),
        ({"outer": {"inductor": {"max_autotune": True}}}, "max_autotune"),
        ({"outer": {"ranks": 2}}, "several ranks"),
    ],
)
def test_engine_settings_are_refused(
    changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm import envs

    monkeypatch.setattr(envs, "VLLM_USE_AOT_COMPILE", True, raising=False)
    refuse_engine(*engine())
    with pytest.raises(UnsupportedModel, match=reason):
        refuse_engine(*engine(**changes))


@pytest.mark.filterwarnings("ignore")
def test_a_real_engine_configuration_is_judged(tiny_qwen35_path: Path) -> None:
    from vllm.engine.arg_utils import EngineArgs

    def judge(**arguments: Any) -> None:
        model = str(tiny_qwen35_path)
        config = EngineArgs(
            model=model, load_format="live", enforce_eager=True, **arguments
        ).create_engine_config()
        refuse_engine(config, config.model_config)

    judge(dtype="bfloat16")
    with pytest.raises(UnsupportedModel, match=r"dtype torch\.float32"):
        judge(dtype="float32")
