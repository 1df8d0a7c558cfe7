"""`run.py experiment make-hybrid`: the small model with Gated DeltaNet layers that `gdn-state` looks at."""

from __future__ import annotations

from typing import Annotated

import typer

from learner.verbs.printing import say, show


def make_hybrid(
    toy: Annotated[bool, typer.Option("--toy", help="a smaller one, in two minutes")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON as the last line")] = False,
) -> None:
    """Make a small hybrid of GDN and attention layers and keep it; goes on where it was killed."""
    import torch

    from learner.experiments.hybrid import making

    torch.set_num_threads(1)
    size = making.TOY if toy else making.FULL
    folder = making.make(size, making.hybrid_folder(size), say)
    show("hybrid", {"folder": str(folder)} | making.record_of(folder), json=json)
