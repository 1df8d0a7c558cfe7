"""The ranks of one server agree: one claims the folder, all carry one generation, the first announces itself
last."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from multiprocessing.util import Finalize
from pathlib import Path

from vllm.distributed.parallel_state import get_world_group

from learner.live.folder import claim, clear
from learner.live.manifest import Manifest, read_manifest, write_manifest
from learner.live.trace import whole
from policies.errors import UnsupportedModel


@dataclass(frozen=True)
class Life:
    """One life of a server, as one of its ranks sees it."""

    folder: Path
    generation: str
    rank: int
    ranks: int

    @classmethod
    def begin(cls, folder: Path) -> Life:
        """Claim the folder (rank 0) and agree on a generation. Raises as `folder.claim` does."""
        group = get_world_group()
        if group.rank_in_group == 0:
            claim(folder)  # its lock stays open, and so locked, until this process ends
            # not after a kill: the next server clears then
            Finalize(None, clear, (folder,), exitpriority=0)
        generation = group.broadcast_object(secrets.token_hex(8))
        return cls(folder, generation, group.rank_in_group, group.world_size)

    def announce(self, manifest: Manifest) -> None:
        """Write the manifest; that of rank 0 comes last, once all of them together hold every parameter.

        Raises UnsupportedModel where they do not.
        """
        group = get_world_group()
        if self.rank != 0:
            write_manifest(self.folder, manifest)
            group.barrier()
            return
        group.barrier()
        others = [read_manifest(self.folder, rank) for rank in range(1, self.ranks)]
        refuse_partial([manifest, *others])
        write_manifest(self.folder, manifest)


def refuse_partial(manifests: Sequence[Manifest]) -> None:
    """Raises UnsupportedModel when a parameter is in the ranks' tensors only in part."""
    first = manifests[0]
    for name in first.hf:
        runs = [run for manifest in manifests for run in manifest.hf.get(name, ())]
        if not whole(runs, prod(first.checkpoint[name].shape)):
            raise UnsupportedModel(f"live weights: {name} is served only in part")
