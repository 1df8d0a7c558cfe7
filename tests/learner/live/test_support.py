"""Models and engine settings that cannot be live are named before anything starts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import build

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
    outer = {"speculative_config": None, "inductor": {}, "ranks": 1, "tensor": 1, "device": "cpu"}
    outer |= {"caching": False} | changes.get("outer", {})
    return (
        SimpleNamespace(
            parallel_config=SimpleNamespace(
                world_size_across_dp=outer["ranks"], tensor_parallel_size=outer["tensor"]
            ),
            cache_config=SimpleNamespace(enable_prefix_caching=outer["caching"]),
            scheduler_config=SimpleNamespace(scheduler_cls=None),
            device_config=SimpleNamespace(device_type=outer["device"]),
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
        ({"outer": {"ranks": 4, "tensor": 2}}, "pipeline or data parallel"),
        ({"outer": {"caching": True}}, "prefix caching without"),
        ({"outer": {"device": "cuda"}}, "expandable segments"),
    ],
)
def test_engine_settings_are_refused(
    changes: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm import envs

    monkeypatch.setattr(envs, "VLLM_USE_AOT_COMPILE", True, raising=False)
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64, expandable_segments:True")
    refuse_engine(*engine())
    refuse_engine(*engine(outer={"ranks": 2, "tensor": 2}))
    with pytest.raises(UnsupportedModel, match=reason):
        refuse_engine(*engine(**changes))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("tiny"))


def judge(model: Path, **arguments: Any) -> None:
    from vllm.engine.arg_utils import EngineArgs

    usual = {"load_format": "live", "dtype": "bfloat16", "enforce_eager": True, "skip_tokenizer_init": True}
    given = usual | {"enable_prefix_caching": False} | arguments
    config = EngineArgs(model=str(model), **given).create_engine_config()
    refuse_engine(config, config.model_config)


NGRAM = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_max": 2}
FROZEN = {"mode": 3, "inductor_compile_config": {"max_autotune": True}}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"dtype": "float32"}, r"dtype torch\.float32"),
        ({"quantization": "fp8"}, "quantisation fp8"),
        ({"speculative_config": NGRAM}, "speculative decoding"),
        ({"enforce_eager": False, "compilation_config": FROZEN}, "max_autotune"),
        ({"pipeline_parallel_size": 2}, "pipeline or data parallel"),
        ({"enable_prefix_caching": True}, "prefix caching without"),
    ],
)
def test_a_real_engine_configuration_is_refused(
    tiny: Path, arguments: dict[str, Any], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vllm import envs

    monkeypatch.setattr(envs, "VLLM_USE_AOT_COMPILE", False, raising=False)
    judge(tiny)
    judge(tiny, tensor_parallel_size=2)
    with pytest.raises(UnsupportedModel, match=reason):
        judge(tiny, **arguments)


@pytest.mark.slow  # vLLM looks at each new architecture in a process of its own
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "own", "reason"),
    [
        (
            "Qwen3Moe",
            {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64},
            "a mixture of experts",
        ),
        (
            "DeepseekV2",
            {"kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32}
            | {"first_k_dense_replace": 2},
            r"latent attention \(MLA\)",
        ),
    ],
)
def test_a_real_architecture_is_refused(tmp_path: Path, kind: str, own: dict[str, Any], reason: str) -> None:
    import transformers

    shape = {"vocab_size": 515, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2}
    config = getattr(transformers, f"{kind}Config")(
        **shape | own, num_attention_heads=4, num_key_value_heads=4, architectures=[f"{kind}ForCausalLM"]
    )
    config.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModel, match=reason):
        judge(tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UnsupportedModel):
        check_supported(tmp_path)
