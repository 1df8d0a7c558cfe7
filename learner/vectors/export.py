"""Vectors for others: a safetensors file with a model card, or base plus vector as a whole checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from math import prod
from pathlib import Path

from torch import Tensor

from learner.vectors.blocks import Deltas, spans
from learner.vectors.checkpoint import Checkpoint
from learner.vectors.file import VectorFile
from learner.vectors.stream import TensorWriter
from learner.versioning.files import keep_private
from policies.errors import InputError

_COPIED = ("*.json", "*.jinja", "tokenizer*", "*.model", "*.txt")
_WHOLE = "model.safetensors"

_CARD = """---
library_name: {library}
tags: [task-vector, task-arithmetic]
---
# {name}

{what}

| | |
|---|---|
| base model | `{base}` (heedloop hash `{model_hash}`) |
| made by | {recipe} |
| from version, to version | {from_version}, {to_version} |
| L2 norm | {norm:.6g} |
| entries, share of zeros | {entries}, {sparsity:.4f} |
| tensors | {tensors} |

{use}

Method: Ilharco et al. 2022, "Editing Models with Task Arithmetic".
"""
_VECTOR_USE = """Each tensor is `W - W_base` in float32, under its Hugging Face name. Add it, times a
scale, to the weights of the very base model named above; on another one it means nothing."""
_CHECKPOINT_USE = "Loads with `transformers.AutoModelForCausalLM.from_pretrained` like the base model."


def export_vector(vector: VectorFile, base: str, folder: Path) -> Path:
    """Copy a vector and write its card into a new folder. Returns the file."""
    target = _new_folder(folder) / f"{vector.description.name}.safetensors"
    shutil.copyfile(vector.path, target)
    what = "A task vector: the change of weights that makes one behaviour."
    _write_card(vector, base, folder, "safetensors", what, _VECTOR_USE)
    return target


def export_checkpoint(
    vector: VectorFile,
    scale: float,
    base: Checkpoint,
    name: str,
    folder: Path,
    advance: Callable[[int], None] = lambda _: None,
) -> Path:
    """Write base + scale * vector as a Hugging Face checkpoint, rounded to nearest. Returns the file.

    `advance` is called with the elements of each tensor when it is written.
    """
    _new_folder(folder)
    for pattern in _COPIED:
        for path in base.folder.glob(pattern):
            if not path.name.endswith((".index.json", ".safetensors")):
                shutil.copyfile(path, folder / path.name)
    (folder / "converted.json").unlink(missing_ok=True)  # says what the base's files are
    shapes = {base.own_name(own): shape for own, shape in base.shapes.items()}
    dtypes = {base.own_name(own): base.dtype(own) for own in base.shapes}
    with TensorWriter(folder / _WHOLE, shapes, dtypes) as writer:
        for own, shape in base.shapes.items():
            for start, stop in spans(shape):
                writer.write(base.own_name(own), _moved(base, vector, scale, own, start, stop))
            advance(prod(shape))
    what = f"`{name}` with the behaviour of the task vector `{vector.description.name}`, times {scale:g}."
    _write_card(vector, name, folder, "transformers", what, _CHECKPOINT_USE)
    return folder / _WHOLE


def _moved(base: Checkpoint, deltas: Deltas, scale: float, name: str, start: int, stop: int) -> Tensor:
    value = base.raw(name, start, stop)
    if name not in deltas.shapes:
        return value
    return value.float().add_(deltas.rows(name, start, stop), alpha=scale)


def _new_folder(folder: Path) -> Path:
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; give a new folder")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    keep_private(folder)
    return folder


def _write_card(vector: VectorFile, base: str, folder: Path, library: str, what: str, use: str) -> None:
    """Write the card, the last file of the folder."""
    told, numbers = vector.description, vector.description.summary
    text = _CARD.format(
        library=library,
        name=told.name,
        what=what,
        base=base,
        model_hash=told.model_hash,
        recipe=told.recipe,
        from_version=told.from_version or "-",
        to_version=told.to_version or "-",
        norm=numbers.norm,
        entries=numbers.entries,
        sparsity=numbers.sparsity,
        tensors=len(vector.shapes),
        use=use,
    )
    (folder / "README.md").write_text(text)
    keep_private(folder)
