"""The Hugging Face model that the learner computes with."""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn import Parameter
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from policies.errors import ConfigError


def load_model(
    path: Path, dtype: torch.dtype = torch.float32
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a checkpoint folder for computing in `dtype`; no dropout, no gradient on anything.

    fp32 is faster than bf16 on a CPU, and a bf16 checkpoint is held exactly. Raises ConfigError where
    there is no checkpoint.
    """
    if not (path / "config.json").is_file():
        raise ConfigError(
            f"no model at {path}: config.json is missing (set server.model to a checkpoint folder)"
        )
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="sdpa")
    model.eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(path)


def trainable(model: PreTrainedModel) -> dict[str, Parameter]:
    """Return the parameters that learn, by name: all but the input and output embeddings."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    frozen = {id(p) for end in ends if end is not None for p in end.parameters()}
    return {name: p for name, p in model.named_parameters() if id(p) not in frozen}
