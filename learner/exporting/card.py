"""The page that goes with an adapter: what it is, how near it comes, how to load it."""

from __future__ import annotations

from collections.abc import Mapping

from learner.exporting.adapter import Adapter
from learner.exporting.loss import Measured

_CARD = """---
library_name: peft
tags: [lora]
---
# {name}

What the model learned from version `{base_version}` (the base) to version `{version}`, as a LoRA adapter: of
each changed matrix the nearest one of rank {rank} (truncated singular value decomposition). It is an
approximation; the version itself is exported by `run.py export model`.

| | |
|---|---|
| base model | `{base}` (heedloop hash `{model_hash}`) |
| rank, alpha | {rank}, {rank} |
| energy of all changes that is kept | {kept:.2%} |
{kinds}
{left_out}

## What it loses
{measured}

## Use
`peft.PeftModel.from_pretrained(base, folder)`, `model.load_adapter(folder)` of transformers, or vLLM:
`--enable-lora --max-lora-rank {served} --lora-modules NAME=FOLDER`.
"""
_SERVED = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank`."""


def card(
    name: str,
    base: str,
    model_hash: str,
    versions: tuple[str, str],
    adapter: Adapter,
    measured: Mapping[str, Measured] | None,
) -> str:
    """Return the page as Markdown; `versions` are ids: the base's, the exported one's."""
    kinds = "\n".join(
        f"| kept of `{kind}` | {1 - lost / energy if energy else 1:.2%} |"
        for kind, (energy, lost) in sorted(adapter.by_kind.items())
    )
    return _CARD.format(
        name=name,
        base=base,
        model_hash=model_hash,
        base_version=versions[0],
        version=versions[1],
        rank=adapter.rank,
        kept=adapter.kept,
        kinds=kinds,
        left_out=_left_out(adapter),
        measured=_table(adapter, measured),
        served=next((rank for rank in _SERVED if rank >= adapter.rank), adapter.rank),
    )


def rows_of(
    adapter: Adapter, measured: Mapping[str, Measured]
) -> list[tuple[str, float, float, float | None]]:
    """Return (weights, NLL, KL, follow-rate) of each set of weights."""
    titles = {"base": "base", "version": "version", "adapter": f"adapter, rank {adapter.rank}"}
    return [(titles[key], one.nll, one.kl, one.follow) for key, one in measured.items()]


def _table(adapter: Adapter, measured: Mapping[str, Measured] | None) -> str:
    if measured is None:
        return "Not measured (`--no-measure`)."
    lines = ["| weights | NLL, nats a token | KL to the version | follow-rate |", "|---|---|---|---|"]
    for title, nll, kl, follow in rows_of(adapter, measured):
        lines.append(f"| {title} | {nll:.4f} | {kl:.4f} | {'-' if follow is None else f'{follow:.2f}'} |")
    return "\n".join(lines)


def _left_out(adapter: Adapter) -> str:
    if not adapter.left_out:
        return "\nEverything that changed is a matrix of a linear layer: nothing is left out."
    share = sum(adapter.left_out.values()) / (adapter.energy + sum(adapter.left_out.values()))
    names = ", ".join(f"`{name}`" for name in adapter.left_out)
    return f"\nLeft out ({share:.2%} of the energy), for an adapter holds no such thing: {names}."
