"""Hidden states for others' tools: residual stream and recurrent states of a prompt, in a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel

from learner.steering.activations import recurrent_states, residuals
from policies.errors import InputError

SUFFIXES = (".safetensors", ".json")


def states_of(model: PreTrainedModel, ids: Sequence[int], layer: int | None = None) -> dict[str, Tensor]:
    """Return fp32 `residual.L` [tokens, width] after each layer and, of Gated DeltaNet layers,
    `recurrent.L` and `conv.L` after the last token; with `layer`, of that one only.

    Raises InputError for a layer out of range, and as `residuals` does.
    """
    streams = residuals(model, ids)
    if layer is not None and not 0 <= layer < len(streams):
        raise InputError(f"layer {layer} is out of range: this model has layers 0 to {len(streams) - 1}")
    wanted = range(len(streams)) if layer is None else [layer]
    found = {f"residual.{number}": streams[number] for number in wanted}
    for number, states in recurrent_states(model, ids).items():
        if number in wanted:
            found |= {f"{kind}.{number}": state for kind, state in states.items()}
    return found


def require_suffix(path: Path) -> Path:
    """Return the path. Raises InputError where its name says no format that is written."""
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: name a file that ends in {' or '.join(SUFFIXES)}")
    return path


def write_states(path: Path, states: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write states as safetensors (`about` is its metadata), or as JSON with nested lists."""
    try:
        if require_suffix(path).suffix == ".json":
            lists = {name: state.tolist() for name, state in states.items()}
            path.write_text(json.dumps({**about, "states": lists}) + "\n", encoding="utf-8")
        else:
            save_file({n: s.contiguous() for n, s in states.items()}, path, {"format": "pt", **about})
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error})") from error
