"""Tiny random models, one of each architecture that can be live. V = 515 is no multiple of 64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

VOCABULARY = 515
_COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "max_position_embeddings": 512,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "initializer_range": 0.1,  # logits far enough apart for an argmax that bfloat16 does not turn
}
_GEMMA = {"query_pre_attn_scalar": 64, "sliding_window": 64, "tie_word_embeddings": True}
_GDN = {
    "num_hidden_layers": 4,
    "linear_num_key_heads": 4,
    "linear_num_value_heads": 8,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {}),
    "llama-tied-biased": ("LlamaConfig", {"tie_word_embeddings": True, "attention_bias": True}),
    "llama-odd": ("LlamaConfig", {"hidden_size": 80, "head_dim": 32, "intermediate_size": 176}),
    "qwen2": ("Qwen2Config", {"head_dim": 32, "tie_word_embeddings": True}),
    "qwen3": ("Qwen3Config", {}),
    "qwen35": ("Qwen3_5TextConfig", _GDN),
    "gemma": ("GemmaConfig", {"tie_word_embeddings": True}),
    "gemma2": ("Gemma2Config", _GEMMA),
    "gemma3": ("Gemma3TextConfig", _GEMMA),
    "mistral": ("MistralConfig", {}),
    "phi3": ("Phi3Config", {}),
    "granite": ("GraniteConfig", {}),
    "olmo2": ("Olmo2Config", {}),
    "smollm3": ("SmolLM3Config", {}),
    "starcoder2": ("Starcoder2Config", {}),
}


def build(name: str, folder: Path, **own: Any) -> Path:
    """Write a random model, the same each time; vectors get values that are neither 0 nor 1."""
    kind, usual = CONFIGS[name]
    config = getattr(transformers, kind)(**_COMMON | usual | own)
    return _write(config, transformers.AutoModelForCausalLM, folder)


def build_seeing(folder: Path, **own: Any) -> Path:
    """A Qwen3.5 that can also see: its text model is a part of it, under other names."""
    from transformers.models.qwen3_5 import Qwen3_5Config

    eyes = {"depth": 2, "hidden_size": 64, "intermediate_size": 128, "num_heads": 2, "out_hidden_size": 128}
    places = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    config = Qwen3_5Config(
        text_config=_COMMON | _GDN | own,
        vision_config=eyes | {"num_position_embeddings": 64},
        tie_word_embeddings=False,
        **{place: 10 + number for number, place in enumerate(places)},
    )
    return _write(config, transformers.AutoModelForImageTextToText, folder)


def _write(config: Any, kind: Any, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind.from_config(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "A_log" not in name:
                torch.nn.init.normal_(parameter, 0.5, 0.2)
    model.to(torch.bfloat16).save_pretrained(folder)
    return folder
