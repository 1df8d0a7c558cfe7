"""The Hugging Face model that the learner computes with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import Parameter
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from policies.errors import ConfigError


def compute_dtype() -> torch.dtype:
    """Return the fastest type for matrix products on this CPU: bf16 if it has instructions for it."""
    able = torch.cpu.get_capabilities()
    return torch.bfloat16 if able.get("avx512_bf16") or able.get("amx_bf16") else torch.float32


def load_model(
    path: Path, dtype: torch.dtype | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a checkpoint folder for computing in `dtype`; no dropout, no gradient on anything.

    None is `compute_dtype()`; fp32 holds a bf16 checkpoint exactly, too. Raises ConfigError where there is
    no checkpoint.
    """
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"no model at {path}: config.json is missing (set server.model to a checkpoint folder)"
        )
    dtype = compute_dtype() if dtype is None else dtype
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    model.eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(path)


def trainable(model: PreTrainedModel) -> dict[str, Parameter]:
    """Return the parameters that learn, by name: all but the input and output embeddings."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    frozen = {id(p) for end in ends if end is not None for p in end.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in frozen}
