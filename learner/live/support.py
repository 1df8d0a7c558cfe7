"""What cannot be live, told before a server starts (from config.json) and again by the engine that loads."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from policies.errors import ConfigError, UnsupportedModel

_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "num_moe_experts")


def check_supported(model_dir: Path) -> None:
    """Read the folder's config.json. Raises UnsupportedModel for weights that cannot be live, ConfigError
    for no model.
    """
    path = model_dir / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"{model_dir}: not a model folder, it has no config.json") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(config, dict) or not isinstance(config.get("architectures"), list):
        raise ConfigError(f"{path}: names no architecture")
    for part in (config, config.get("text_config")):
        if isinstance(part, dict):
            _refuse_config(model_dir, part)
    _refuse_missing(model_dir)


def text_only_flags(model_dir: Path) -> list[str]:
    """What to tell vLLM of a checkpoint that can also see: to serve its text part, which is what learns."""
    path = model_dir / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    return ["--language-model-only"] if "vision_config" in config else []


def _refuse_missing(model_dir: Path) -> None:
    present = {path.name for path in model_dir.glob("*.safetensors")}
    if not present:
        raise UnsupportedModel(f"{model_dir}: no *.safetensors weights in it")
    index = model_dir / "model.safetensors.index.json"
    if index.exists():
        missing = set(json.loads(index.read_text())["weight_map"].values()) - present
        if missing:
            raise ConfigError(f"{model_dir}: {min(missing)} is missing; download the model again")


def _refuse_config(model_dir: Path, config: dict[str, Any]) -> None:
    if config.get("quantization_config") or config.get("compression_config"):
        raise UnsupportedModel(f"{model_dir}: quantised weights cannot be live; take the bfloat16 checkpoint")
    if config.get("kv_lora_rank"):
        raise UnsupportedModel(
            f"{model_dir}: latent attention (MLA) keeps derived copies of weights; not supported"
        )
    if any(isinstance(config.get(key), int) and config[key] > 1 for key in _EXPERTS):
        raise UnsupportedModel(f"{model_dir}: a mixture of experts is rearranged by vLLM; not supported")
    if config.get("model_type") in (
        "mamba",
        "mamba2",
        "falcon_mamba",
        "jamba",
        "bamba",
        "nemotron_h",
        "zamba2",
    ):
        raise UnsupportedModel(
            f"{model_dir}: {config['model_type']} transforms weights while loading; not supported"
        )


def refuse_engine(vllm_config: Any, model_config: Any) -> None:
    """Raises UnsupportedModel when the engine's own settings (vllm.config) would leave weights behind."""
    import torch
    from vllm import envs

    from learner.live import cuda

    parallel, compiled = vllm_config.parallel_config, vllm_config.compilation_config
    inductor = compiled.inductor_compile_config
    reasons = {
        f"quantisation {model_config.quantization}": model_config.quantization is not None,
        "latent attention (MLA)": model_config.use_mla,
        "a mixture of experts": model_config.get_num_experts() > 0,
        "sleep mode (--enable-sleep-mode)": model_config.enable_sleep_mode,
        "speculative decoding (--speculative-config)": vllm_config.speculative_config is not None,
        "max_autotune, which freezes weights": bool(inductor.get("max_autotune")),
        "pipeline or data parallel (tensor parallel is fine)": (
            parallel.world_size_across_dp > parallel.tensor_parallel_size
        ),
        "expandable segments (PYTORCH_CUDA_ALLOC_CONF)": (
            vllm_config.device_config.device_type == "cuda" and cuda.expandable_segments(os.environ)
        ),
        f"dtype {model_config.dtype} (use --dtype bfloat16)": model_config.dtype != torch.bfloat16,
        "cached compilation (set VLLM_USE_AOT_COMPILE=0)": envs.VLLM_USE_AOT_COMPILE
        and not model_config.enforce_eager,
    }
    reasons["prefix caching without `--scheduler-cls learner.live.scheduler.live_scheduler`"] = bool(
        vllm_config.cache_config.enable_prefix_caching
    ) and not _keeps_prefixes_apart(vllm_config)
    found = [reason for reason, holds in reasons.items() if holds]
    if found:
        raise UnsupportedModel(f"live weights do not go with {found[0]}")


def _keeps_prefixes_apart(vllm_config: Any) -> bool:
    """Whether the scheduler salts cached prefixes: else those of older weights would be used."""
    return "learner.live.scheduler" in str(vllm_config.scheduler_config.scheduler_cls)
