"""What a step of the learner costs, beside the usual ways. Last line: one JSON object.

`python -m benchmarks.learner --json [--model MODEL]` (about twenty minutes; each part is kept in a file, so
that an interrupted run goes on where it was). MODEL is `smollm2` or a folder, such as the hybrid that
`run.py experiment make-hybrid --toy` makes. Context-frozen against full backpropagation and gradient
checkpointing, lm_head on the labelled positions in all; one pass over a conversation against one for each
decision; Apollo against AdamW; gradients applied in backward against whole ones. One thread, and the type
that this CPU is fastest in.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.learner import optimizers, passes
from benchmarks.learner.cells import Cells
from learner.model import compute_dtype

CONTEXTS = (512, 2048, 8192)
TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
LONG = 2048


def every_cell(model: str) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what can be measured of a model, by name."""
    found: dict[str, Callable[[], dict[str, Any]]] = {"conversation": partial(passes.one_pass, model)}
    for context in CONTEXTS:
        found[f"pass-{context}"] = partial(passes.speed, model, context)
        for way in passes.WAYS:
            found[f"pass-{context}-{way}-memory"] = partial(passes.memory, model, way, context)
    for kind, dtype in TYPES.items():
        found[f"optimizers-{kind}"] = partial(optimizers.speed, model, dtype)
    for name in (*optimizers.RANKS, "fused", "foreach"):
        found[f"{name}-memory"] = partial(optimizers.memory, model, name)
    for name in optimizers.RANKS:
        found[f"{name}-share"] = partial(optimizers.share, model, name)
    for context in (0, LONG):
        found[f"gradients-{context}"] = partial(optimizers.way_speed, model, context)
    for way in optimizers.GRADIENTS:
        found[f"gradients-{way}-memory"] = partial(optimizers.way_memory, model, way)
    return found


def context_frozen(cells: Cells, context: int) -> dict[str, Any]:
    """Return how much faster, and with what part of the extra memory, than full backpropagation."""
    measured = cells.get(f"pass-{context}")
    seconds = measured["seconds"]
    mib = {way: cells.get(f"pass-{context}-{way}-memory")["mib"] for way in passes.WAYS}
    return {
        "speedup": seconds["full"] / seconds["frozen"],
        "memory_ratio": mib["frozen"] / mib["full"],
        "speedup_vs_checkpointing": seconds["checkpointed"] / seconds["frozen"],
        "memory_ratio_vs_checkpointing": mib["frozen"] / mib["checkpointed"],
        "extra_mib": mib,
        "n_memory": 1,
        **measured,
    }


def conversation_pass(cells: Cells) -> dict[str, Any]:
    """Return how much faster one pass is than one for each decision."""
    measured = cells.get("conversation")
    seconds = measured["seconds"]
    return {"speedup": seconds["one_per_decision"] / seconds["one_pass"], **measured}


def apollo(cells: Cells, name: str) -> dict[str, Any]:
    """Return one rank's step beside AdamW's, on fp32 tensors and on bf16 ones, and its memory."""
    seconds = {kind: cells.get(f"optimizers-{kind}")["seconds"] for kind in TYPES}
    bf16, fp32 = seconds["bf16"], seconds["fp32"]
    memory = cells.get(f"{name}-memory")
    return {
        "step_ratio_vs_adamw": fp32[name] / fp32["fused"],
        "step_ratio_vs_foreach": fp32[name] / fp32["foreach"],
        "step_ratio_bf16": bf16[name] / bf16["fused"],
        "step_ratio_bf16_with_remainder": bf16[f"{name}_exact"] / bf16["fused"],
        "state_bytes": memory["state_bytes"],
        "state_ratio_vs_adamw": memory["state_bytes"] / cells.get("fused-memory")["state_bytes"],
        "peak_mib": memory["peak_mib"],
        "n": cells.get("optimizers-fp32")["n"],
        **{key: value for key, value in cells.get(f"{name}-share").items() if key != "n"},
    }


def gradients(cells: Cells) -> dict[str, Any]:
    """Return what applying gradients in backward costs in time and saves in memory."""
    found: dict[str, Any] = {
        f"{way}_mib": cells.get(f"gradients-{way}-memory")["peak_mib"] for way in optimizers.GRADIENTS
    }
    for context in (0, LONG):
        seconds = cells.get(f"gradients-{context}")["seconds"]
        found["step_ratio" if not context else f"step_ratio_with_{context}"] = (
            seconds["in_backward"] / seconds["whole"]
        )
    return found | {"n": cells.get("gradients-0")["n"], "n_memory": 1}


def main() -> None:
    """Measure what is not measured yet; print the object."""
    parser = argparse.ArgumentParser(description=__doc__)
    kept = Path(tempfile.gettempdir()) / "heedloop-benchmark-learner.json"
    parser.add_argument(
        "--cells", type=Path, default=kept, help="where parts are kept (default: %(default)s)"
    )
    parser.add_argument("--fresh", action="store_true", help="measure all parts again")
    parser.add_argument("--model", default="smollm2", help="`smollm2` or a checkpoint folder")
    parser.add_argument(
        "--cell", choices=sorted(every_cell("smollm2")), help="measure one part, and keep nothing"
    )
    parser.add_argument("--json", action="store_true", help="the last line is JSON anyway")
    arguments = parser.parse_args()
    if arguments.cell:
        print(json.dumps(every_cell(arguments.model)[arguments.cell]()))
        return
    if arguments.fresh:
        arguments.cells.unlink(missing_ok=True)
    cells = Cells(arguments.cells, arguments.model)
    found = {
        "model": arguments.model,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, 1 thread, {compute_dtype()}",
        "apollo": {name: apollo(cells, name) for name in optimizers.RANKS},
        "adamw": {kind: cells.get(f"{kind}-memory") for kind in ("fused", "foreach")},
        "gradients_in_backward": gradients(cells),
        "conversation_pass": conversation_pass(cells),
        "context_frozen": {str(context): context_frozen(cells, context) for context in CONTEXTS},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
