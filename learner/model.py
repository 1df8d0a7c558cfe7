"""The Hugging Face model that the learner computes with."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch.nn import Parameter
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from learner import attention
from learner.live.products import multiplies_bfloat16
from policies.errors import ConfigError

_PARTS = {
    "queries": r"\.q_proj\.",
    "gates": r"\.in_proj_(a|b|ba)\.|\.(A_log|dt_bias)$",
}


def compute_dtype() -> torch.dtype:
    """Return the fastest type for matrix products on this CPU: bf16 if it has instructions for it."""
    return torch.bfloat16 if multiplies_bfloat16() else torch.float32


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
    if not any(path.glob("*.safetensors")):
        raise ConfigError(f"no weights at {path}: *.safetensors files are read, never pickles (*.bin)")
    model = AutoModelForCausalLM.from_pretrained(
        path, dtype=dtype, attn_implementation=attention.NAME, use_safetensors=True
    )
    model.eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(path)


def trainable(model: PreTrainedModel, which: str = "all") -> dict[str, Parameter]:
    """Return the parameters that learn, by name.

    `which` is "all" (but the input and output embeddings), "queries" (of attention layers), "gates" (of Gated
    DeltaNet layers), or a regular expression searched for in the names. Raises ConfigError where nothing
    learns.
    """
    named = dict(model.named_parameters())
    frozen = embeddings(model)
    if which == "all":
        return {name: parameter for name, parameter in named.items() if name not in frozen}
    try:
        found = {name: p for name, p in named.items() if re.search(_PARTS.get(which, which), name)}
    except re.error as error:
        raise ConfigError(f"training.parameters = {which!r} is no regular expression: {error}") from error
    if not found:
        like = next(iter(named))
        raise ConfigError(f"training.parameters = {which!r} matches no name of this model (one is {like})")
    return found


def embeddings(model: PreTrainedModel) -> frozenset[str]:
    """Return the names of the input and output embeddings; tied ones have one name."""
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    ids = {id(p) for end in ends if end is not None for p in end.parameters()}
    return frozenset(name for name, p in model.named_parameters() if id(p) in ids)
