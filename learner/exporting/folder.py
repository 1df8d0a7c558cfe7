"""The folder of an adapter: factorised, measured and described, there as a whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from learner.archive import Archive
from learner.exporting.adapter import Adapter, choose_rank, read_products, write_adapter
from learner.exporting.card import card
from learner.exporting.loss import Measure, Measured
from learner.model import load_model
from learner.probing.material import load_material
from learner.probing.suite import spread_over_directions
from learner.rehearsal import follows
from learner.versioning.files import keep_private
from policies.errors import ConfigError, InputError
from policies.example import Example
from store.versions import Version

FOLLOWED = 24
"""Learned examples whose follow-rate is measured, spread over the directions."""


def export_adapter(
    archive: Archive,
    versions: tuple[Version, Version],
    folder: Path,
    *,
    base: str,
    rank: int | None,
    energy: float | None,
    learned: Sequence[Example] | None,
    max_tokens: int,
    tell: Callable[[str], None],
) -> tuple[Adapter, dict[str, Measured] | None]:
    """Write the adapter of the second of two versions against the first, the base; measure its loss.

    `rank` or `energy` (a share to keep) is given; `learned` of None measures nothing. Raises ConfigError
    where the folder has something in it, InputError where no matrix changed, GuardRefused where a file is
    gone.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    version = versions[1]
    if version.state == "dropped":
        raise InputError(f"version {version.id} was retired: its file is gone (see `versions list`)")
    linear = linear_weights(archive.model_dir)
    if rank is None:
        rank = choose_rank(changes(archive, version), linear, energy or 1.0)
        tell(f"rank {rank} keeps {energy:.1%} of what changed in matrices")
    fresh = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    try:
        adapter = write_adapter(fresh, changes(archive, version), linear, rank, base, tell)
        measured = None if learned is None else _measured(archive, version, fresh, learned, max_tokens, tell)
        ids = (versions[0].id, version.id)
        page = card(folder.name, base, archive.model_hash, ids, adapter, measured)
        (fresh / "README.md").write_text(page)
        keep_private(fresh)
        if folder.exists():
            folder.rmdir()
        fresh.rename(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return adapter, measured


def changes(archive: Archive, version: Version) -> Iterator[tuple[str, Tensor]]:
    """Yield what a version added to each tensor in which it differs from the base, fp32."""
    names = archive.changed(version)
    for (name, before), (_, after) in zip(archive.base(names), archive.tensors(version, names), strict=True):
        yield name, after.float() - before.float()


def linear_weights(model_dir: Path) -> frozenset[str]:
    """Return the names of the weights of linear layers; an output tied to the input embedding is none."""
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_dir))
    tied = model.get_output_embeddings() if model.config.tie_word_embeddings else None
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return frozenset(f"{name}.weight" for name, module in linear.items() if module is not tied)


def _measured(
    archive: Archive,
    version: Version,
    folder: Path,
    learned: Sequence[Example],
    max_tokens: int,
    tell: Callable[[str], None],
) -> dict[str, Measured]:
    tell("measuring base, version and adapter")
    model, tokenizer = load_model(archive.model_dir)
    material, names = load_material(), archive.changed(version)
    chosen = spread_over_directions(learned, FOLLOWED)
    measure = Measure(model, tokenizer, material.texts, material.prompts, chosen, follows, max_tokens)
    return measure.compare(lambda: archive.tensors(version, names), lambda: read_products(folder))
