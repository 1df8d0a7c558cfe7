"""Writes a version as a standard Hugging Face checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file

from learner.archive import Archive
from learner.live.names import text_name
from learner.versioning.files import keep_private
from policies.errors import ConfigError
from store.progress import Progressing
from store.versions import Version

_ORIGIN = "heedloop.json"


def export(archive: Archive, version: Version, folder: Path) -> list[str]:
    """Write weights, configuration and tokenizer of a version to a folder; returns the names of the files.

    Shards, names and types are the base checkpoint's: only values differ. They were learned of what people
    said, so the folder is its owner's alone. Raises ConfigError where the folder has something in it,
    GuardRefused where the version cannot be read.
    """
    if folder.exists() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    fresh = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700, parents=True)
    for source in sorted(archive.model_dir.iterdir()):
        if source.suffix == ".safetensors":
            _write_shard(archive, version, source, fresh / source.name)
        elif source.is_file():
            shutil.copy2(source, fresh / source.name)
    origin = {"version": version.id, "step": version.last_step or 0, "base": archive.model_hash}
    (fresh / _ORIGIN).write_text(json.dumps(origin, indent=1) + "\n")
    keep_private(fresh)
    if folder.exists():
        folder.rmdir()
    fresh.rename(folder)
    return sorted(path.name for path in folder.iterdir())


def _write_shard(archive: Archive, version: Version, source: Path, target: Path) -> None:
    with safe_open(source, "pt") as file:
        names = {text_name(name): name for name in file.keys()}  # noqa: SIM118 - not a dict
        types = {name: file.get_slice(name).get_dtype() for name in names.values()}
        metadata = file.metadata()
    tensors = {}
    with Progressing(f"tensors of {target.name}", len(names)) as progress:
        for name, value in archive.tensors(version, names):
            tensors[names[name]] = value
            progress.advance()
    same = {n: t.float() if types[n] == "F32" else t for n, t in tensors.items()}  # of a bf16: exact
    save_file(same, target, metadata=metadata or {"format": "pt"})
