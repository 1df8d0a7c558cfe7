"""`python engines.py`: loads models live, one after the other, in an engine without a server around it.

Reads JSON lines {"model", "arena", "mode"} and prints a JSON line for each: {"checks": [...]} or
{"refused": "..."}. Mode "hold" prints {"pid"}, and the engine stays until it is killed; "early" gives every
parameter its place in the arena before loading, as on a GPU. Each has a process of its own, forked after the
imports, which take longer than a tiny model does.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

PROMPT = list(range(5, 29))
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_AOT_COMPILE": "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "ignore",
}
_ENGINE: dict[str, Any] = {
    "load_format": "live",
    "dtype": "bfloat16",
    "enforce_eager": True,
    "enable_prefix_caching": False,
    "skip_tokenizer_init": True,
    "max_model_len": 64,
    "max_num_batched_tokens": 256,
    "max_num_seqs": 2,
    "num_gpu_blocks_override": 16,  # the whole gigabyte would be cleared
    "disable_log_stats": True,
}


def load(model: Path, arena: Path) -> Any:
    """An engine in this process whose weights are live."""
    from vllm import LLM

    return LLM(str(model), model_loader_extra_config={"arena": str(arena)}, **_ENGINE)


def inspect_engine(model: Path, arena: Path) -> list[dict[str, Any]]:
    """Load one model live and run every check on it."""
    from vllm import SamplingParams

    from learner.live.client import LiveWeights
    from learner.live.inspection import Rows, inspect
    from learner.reference import reference_of

    told = SamplingParams(temperature=0, max_tokens=1, prompt_logprobs=20, detokenize=False)
    reference = reference_of(model, PROMPT)  # first: vLLM changes classes of transformers for some models
    llm = load(model, arena)

    def ask(prompt: Sequence[int]) -> Rows:
        answer = llm.generate([{"prompt_token_ids": list(prompt)}], told, use_tqdm=False)[0]
        return [{t: e.logprob for t, e in row.items()} for row in answer.prompt_logprobs[1:]]

    live = LiveWeights.attach(arena)
    return [asdict(check) for check in inspect(live, model, ask, reference)]


def place_early() -> None:
    """Have the loader go the way of a GPU: nothing packed, and the arena is there before the weights are."""
    import torch
    from vllm.model_executor.layers.linear import LinearBase

    from learner.live import loader, placement
    from learner.live.arena import Arena

    def load_weights(self: Any, model: Any, config: Any) -> None:
        self._arena = self._room_on_gpu(model, config)
        for module in model.modules():
            if isinstance(module, LinearBase):
                module.cpu_linear = torch.nn.functional.linear  # of a CPU, whatever the order
        usual(self, model, config)

    usual, loader.LiveLoader.load_weights = loader.LiveLoader.load_weights, load_weights
    placement.kernel_packs = lambda: False
    Arena.create_on_gpu = lambda folder, nbytes, _device, rank: Arena.create(folder, nbytes, rank)


def _child(pipe: Any, job: dict[str, Any]) -> None:
    from policies.errors import HeedloopError

    model, arena = Path(job["model"]), Path(job["arena"])
    try:
        if job["mode"] == "early":
            place_early()
        if job["mode"] == "hold":
            engine = load(model, arena)
            pipe.send({"pid": os.getpid()})
            signal.pause()
            del engine
        pipe.send({"checks": inspect_engine(model, arena)})
    except HeedloopError as error:
        pipe.send({"refused": f"{type(error).__name__}: {error}"})
    os._exit(0)  # vLLM's own farewell takes seconds


def main() -> None:
    """Answer each line of stdin on the real stdout; what libraries print goes to stderr."""
    import transformers  # noqa: F401 - before the fork
    import vllm  # noqa: F401

    with contextlib.redirect_stdout(sys.stderr):
        for line in sys.stdin:
            here, there = multiprocessing.Pipe()
            child = multiprocessing.get_context("fork").Process(target=_child, args=(there, json.loads(line)))
            child.start()
            there.close()
            try:
                outcome = here.recv()
            except EOFError:
                outcome = {"refused": "the engine crashed"}
            if "pid" not in outcome:
                child.join()
            print(json.dumps(outcome), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
