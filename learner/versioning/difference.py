"""What differs between two versions: which tensors, by how much, and what the probes say of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch

from learner.archive import Archive
from store.versions import Version


@dataclass(frozen=True)
class TensorChange:
    """One tensor that differs: L2 norm of the difference, that over the norm before, share of elements."""

    name: str
    norm: float
    relative_norm: float
    changed_share: float
    elements: int


def tensor_changes(archive: Archive, first: Version, second: Version) -> Iterator[TensorChange]:
    """Compare two versions tensor by tensor; those that are equal bit for bit are left out."""
    names = archive.changed(first) | archive.changed(second)
    pairs = zip(archive.tensors(first, names), archive.tensors(second, names), strict=True)
    for (name, before), (_, after) in pairs:
        moved = before != after
        if not bool(moved.any()):
            continue
        old = before.float()
        norm = float(torch.linalg.vector_norm(after.float() - old))
        whole = float(torch.linalg.vector_norm(old))
        share = float(moved.sum()) / moved.numel()
        yield TensorChange(name, norm, norm / whole if whole else float("inf"), share, moved.numel())


def probe_changes(
    first: Mapping[str, Mapping[str, float]], second: Mapping[str, Mapping[str, float]]
) -> dict[str, dict[str, float]]:
    """Compare two probe runs on the items that both have: {probe: {before, after, change, items}}."""
    found: dict[str, dict[str, float]] = {}
    for probe in sorted(first.keys() & second.keys()):
        shared = sorted(first[probe].keys() & second[probe].keys())
        if shared:
            before, after = (
                sum(run[probe][item] for item in shared) / len(shared) for run in (first, second)
            )
            found[probe] = {"before": before, "after": after, "change": after - before, "items": len(shared)}
    return found
