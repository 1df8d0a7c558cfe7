"""`python -m benchmarks.steering.engine`: a live engine in this process; prints one JSON object.

Bit-identity: log-probabilities of a prompt before, with a vector after one layer, and with none again; it
counts only where the vector changed them. Cost: the time of a decoding step with the silent hooks and without
any, in turns, in the same engine.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from learner.base_model import resolve_model
from learner.live import loader
from learner.live.client import LiveWeights

TOKENS, TURNS = 48, 9
PROMPT = list(range(300, 340))


def main() -> None:
    """Measure and print."""
    from vllm import LLM, SamplingParams

    held: list[torch.nn.Module] = []
    usual = loader.steer

    def steer(model: torch.nn.Module, *rest: Any) -> None:
        usual(model, *rest)
        held.append(model)

    loader.steer = steer
    arena = Path("/dev/shm") / f"heedloop-steering-{os.getpid()}"
    llm = LLM(
        str(resolve_model("smollm2", lambda *_: None)),
        load_format="live",
        model_loader_extra_config={"arena": str(arena)},
        dtype="bfloat16",
        enforce_eager=True,
        enable_prefix_caching=False,
        max_model_len=256,
        max_num_seqs=1,
        disable_log_stats=True,
    )
    live = LiveWeights.attach(arena)

    def log_probs() -> list[float]:
        told = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0)
        answer = llm.generate([{"prompt_token_ids": PROMPT}], told, use_tqdm=False)[0]
        return [entry.logprob for row in answer.prompt_logprobs[1:] for entry in row.values()]

    def seconds() -> float:
        told = SamplingParams(temperature=0, max_tokens=TOKENS, ignore_eos=True)
        began = time.process_time()
        llm.generate([{"prompt_token_ids": PROMPT}], told, use_tqdm=False)
        return time.process_time() - began

    before = log_probs()
    layers, width = live.steering_shape
    rows = torch.zeros(layers, width)
    rows[layers // 2] = torch.randn(width, generator=torch.Generator().manual_seed(0))
    live.steer(rows)
    during = log_probs()
    live.steer(None)
    after = log_probs()
    found = {
        "zero_bit_identical": before == after and during != before,
        "vector_moves_log_probs": during != before,
        **_cost(held[0], seconds),
    }
    print(json.dumps(found), flush=True)
    shutil.rmtree(arena, ignore_errors=True)
    os._exit(0)  # vLLM's own farewell takes seconds


def _cost(model: torch.nn.Module, seconds: Any) -> dict[str, Any]:
    """Return the median ratio of CPU seconds with silent hooks to those without, run in turns."""
    hooks = {m: dict(m._forward_hooks) for m in model.modules() if m._forward_hooks}
    ratios = []
    seconds()
    for turn in range(TURNS):
        taken = {}
        for which in ("with", "without") if turn % 2 else ("without", "with"):
            for module, own in hooks.items():
                module._forward_hooks.clear()
                if which == "with":
                    module._forward_hooks.update(own)
            taken[which] = seconds()
        ratios.append(taken["with"] / taken["without"])
    return {"zero_cost_ratio": median(ratios), "zero_cost_turns": TURNS, "zero_cost_all": ratios}


if __name__ == "__main__":
    main()
