"""`python compiled_engine.py MODEL ARENA`: a compiled engine with live weights, steered; prints what it says.

One JSON object: the compilation mode, and log-probabilities of a prompt before, under a vector, and after.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path

PROMPT = list(range(5, 29))


def main(model: str, arena: Path) -> None:
    """Serve the model in this process, and steer it."""
    import torch
    from vllm import LLM, SamplingParams

    from learner.live.client import LiveWeights

    llm = LLM(
        model,
        load_format="live",
        model_loader_extra_config={"arena": str(arena)},
        dtype="bfloat16",
        enforce_eager=False,
        enable_prefix_caching=False,
        skip_tokenizer_init=True,
        max_model_len=64,
        max_num_batched_tokens=256,
        max_num_seqs=2,
        num_gpu_blocks_override=16,
        disable_log_stats=True,
    )
    told = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=0, detokenize=False)

    def asked() -> list[float]:
        answer = llm.generate([{"prompt_token_ids": PROMPT}], told, use_tqdm=False)[0]
        return [entry.logprob for row in answer.prompt_logprobs[1:] for entry in row.values()]

    live = LiveWeights.attach(arena)
    layers, width = live.steering_shape
    rows = torch.zeros(layers, width)
    rows[0] = torch.randn(width, generator=torch.Generator().manual_seed(0))
    before = asked()
    live.steer(rows)
    during = asked()
    live.steer(None)
    mode = llm.llm_engine.vllm_config.compilation_config.mode
    found = {"mode": mode.name, "before": before, "during": during, "after": asked()}
    print(json.dumps(found), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        main(sys.argv[1], Path(sys.argv[2]))
    os._exit(0)  # vLLM's own farewell takes seconds
