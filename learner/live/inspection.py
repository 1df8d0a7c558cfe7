"""Are a model's weights really live? Map, write, read back, answers, restore: each a check with plain words.

Nothing here knows how the server is asked (`Ask`), so that it holds for HTTP and for an engine in the same
process alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from learner.live.client import LiveWeights
from learner.live.names import text_name
from learner.reference import Reference

Rows = list[dict[int, float]]
"""For each token of a prompt but the first: log-probabilities of some tokens, its own among them."""
Ask = Callable[[Sequence[int]], Rows]
"""Has the server compute a prompt of token ids."""

_NOISE = 3.0
"""The server computes in bfloat16, as `Reference.noise` does: it may differ from float32 a few times that."""
_SLACK = 0.02
"""Nats; of models that are almost the same in bfloat16 and float32."""
_CLEAR = 0.5
"""Nats between the best two tokens, above which bfloat16 does not turn the order."""


@dataclass(frozen=True)
class Check:
    """One thing that must hold; `advice` says what to do where it does not."""

    name: str
    passed: bool
    detail: str
    advice: str = ""


def inspect(live: LiveWeights, checkpoint: Path, ask: Ask, reference: Reference) -> Iterator[Check]:
    """Run all checks on a server that serves the checkpoint as it is. Leaves its weights as they were."""
    kept = {name: live.read(name).cpu() for name in live.names}
    before = ask(reference.prompt)
    yield _map(live, checkpoint, reference)
    yield _values(kept, checkpoint)
    yield _logits(before, reference)
    yield _seen(live, kept, ask, reference.prompt, before)
    yield from _written(live, kept, ask, reference.prompt, before)
    yield _steered(live, ask, reference.prompt, before)


def _map(live: LiveWeights, checkpoint: Path, reference: Reference) -> Check:
    """Every parameter of the Hugging Face model is live under its own name and shape."""
    unserved = [name for name in checkpoint_shapes(checkpoint) if name not in live.names]
    wrong = [
        name
        for name, shape in reference.shapes.items()
        if name not in live.names or live.shape(name) != shape
    ]
    elements = sum(prod(live.shape(name)) for name in live.names)
    detail = f"{len(live.names)} tensors ({elements / 1e6:.1f} M weights) in {live.ranks} rank(s)"
    if unserved:
        detail += f"; the server leaves {len(unserved)} of the checkpoint out, such as {unserved[0]}"
    if wrong:
        detail = f"{len(wrong)} of {len(reference.shapes)} parameters are not live, such as {wrong[0]}"
    return _check("map", not wrong, detail, "this checkpoint cannot be learned")


def _values(kept: dict[str, Tensor], checkpoint: Path) -> Check:
    """What is served is what the checkpoint says, in the server's type."""
    wrong = [n for n, value in checkpoint_tensors(checkpoint) if n in kept and not _same(kept[n], value)]
    if wrong:
        detail = f"{len(wrong)} tensors differ from the checkpoint, such as {wrong[0]}"
        return Check("values", False, detail, "start the server on the base version")
    return Check("values", True, f"{len(kept)} of {len(kept)} equal the checkpoint")


def _logits(rows: Rows, reference: Reference) -> Check:
    """The server computes what transformers computes with the same weights."""
    difference = reference.difference(rows)
    limit = _NOISE * reference.noise + _SLACK
    agreed, clear = reference.agreement(rows, _CLEAR)
    detail = f"differs from transformers by {difference:.4f} nats on average (bfloat16 alone: "
    detail += f"{reference.noise:.4f}, limit {limit:.4f}); "
    detail += f"same best token at {agreed} of {clear} clear positions"
    passed = difference <= limit and agreed == clear
    return _check("logits", passed, detail, "do not train on it: the server computes something else")


def _seen(live: LiveWeights, kept: dict[str, Tensor], ask: Ask, prompt: Sequence[int], before: Rows) -> Check:
    """Every kind of weight, changed alone, changes the answers: the server has no copy of it elsewhere."""
    kinds = {name.split(".layers.")[-1].partition(".")[2] or name: name for name in kept}
    noise = torch.Generator().manual_seed(0)
    deaf = []
    for name in kinds.values():
        value = kept[name].float()
        with changed(live, kept, [(name, value * 1.3 + 0.05 * torch.randn(value.shape, generator=noise))]):
            if ask(prompt) == before:
                deaf.append(name)
    if deaf:
        detail = f"{len(deaf)} of {len(kinds)} kinds of weights change no answer, such as {deaf[0]}"
        return Check("seen", False, detail, "the server computes with a copy: it cannot be live")
    return Check("seen", True, f"each of {len(kinds)} kinds of weights changes the next answer")


def _written(
    live: LiveWeights, kept: dict[str, Tensor], ask: Ask, prompt: Sequence[int], before: Rows
) -> Iterator[Check]:
    """Every tensor takes other values, gives them back, and returns to its own, bit for bit."""
    fingerprint = live.fingerprint()
    with changed(live, kept, ((name, _other(value)) for name, value in kept.items())):
        wrong = [name for name, value in kept.items() if not _same(live.read(name), _other(value))]
        began = time.perf_counter()
    seconds = time.perf_counter() - began
    megabytes = sum(value.nbytes for value in kept.values()) / 1e6
    yield Check("write", True, f"{megabytes:.0f} MB in {seconds * 1000:.0f} ms")
    detail = f"{len(kept) - len(wrong)} of {len(kept)} tensors read back as written"
    yield Check("read back", not wrong, detail + (f"; not {wrong[0]}" if wrong else ""))
    restored, same = live.fingerprint() == fingerprint, ask(prompt) == before
    detail = "every byte is as before" if restored else "bytes differ"
    detail += ", and so are the answers" if same else ", and the answers differ"
    yield _check("restore", restored and same, detail, "restart the server")


def _steered(live: LiveWeights, ask: Ask, prompt: Sequence[int], before: Rows) -> Check:
    """A vector after any layer changes the answers; none gives them back, bit for bit."""
    noise = torch.Generator().manual_seed(0)
    layers, width = live.steering_shape
    deaf = []
    for layer in range(layers):
        rows = torch.zeros(layers, width)
        rows[layer] = torch.randn(width, generator=noise)
        live.steer(rows)
        deaf += [layer] if ask(prompt) == before else []
    live.steer(None)
    same = ask(prompt) == before
    detail = f"a vector after each of {layers - len(deaf)} of {layers} layers changes the answers, none "
    detail += "leaves them as they were, bit for bit" if same else "does not give them back"
    return _check("steering", layers > 0 and not deaf and same, detail, "leave `steer` alone on this server")


def _other(value: Tensor) -> Tensor:
    """Other values of the same size: none stays where it was."""
    return -value.flatten().roll(1).view(value.shape)


@contextmanager
def changed(
    live: LiveWeights, kept: dict[str, Tensor], values: Iterable[tuple[str, Tensor]]
) -> Iterator[None]:
    """Other values for the time of the block; then the kept ones again."""
    position = live.position()
    written: list[str] = []
    try:
        with live.publishing(position.version, position.step):
            for name, value in values:
                written.append(name)
                live.write(name, value)
        yield
    finally:
        with live.publishing(position.version, position.step):
            for name in written:
                live.write(name, kept[name])


def checkpoint_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor in the safetensors files of a folder."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            shapes |= {text_name(name): tuple(file.get_slice(name).get_shape()) for name in names}
    return shapes


def checkpoint_tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in the safetensors files of a folder, one after the other."""
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            for name in list(file.keys()):
                yield text_name(name), file.get_tensor(name)


def _check(name: str, passed: bool, detail: str, advice: str) -> Check:
    return Check(name, passed, detail, "" if passed else advice)


def _same(live: Tensor, value: Tensor) -> bool:
    """Bit for bit, in the live tensor's type."""
    ours = live.cpu().contiguous().view(torch.uint8)
    return torch.equal(ours, value.to(live.dtype).cpu().contiguous().view(torch.uint8))
