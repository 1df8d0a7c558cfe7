"""`run.py doctor --model M`: serves M for a moment, and proves that every one of its weights is live.

Nothing heavy is imported until `prove` runs: the command line reads this module too.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from learner.live.folder import PREFIX
from learner.temporary_server import SHARED, TemporaryServer, temporary_server
from policies.config import ServerConfig
from policies.errors import GuardRefused, HeedloopError, Unreachable
from store.damage import Damage

if TYPE_CHECKING:
    from learner.live.inspection import Check, Rows

_ANSWER_S = 300.0
_TOKENS = 24
_MODEL_LENGTH = 256
_PROMPT = (
    "The weather in the mountains was fine when we left the hut, so we took the long way round the lake and "
    "reached the village before noon."
)
_TOP = 20  # vLLM's own limit unless told otherwise


def disagreements(home: Path) -> Iterator[Damage]:
    """See whether the live weights are the version that the store names (`run.py doctor --store`)."""
    from learner.live import agreement

    yield from agreement.disagreements(home)


def prove(config: ServerConfig) -> Iterator[Check]:
    """Check after check, as they are made; the first that stops the rest comes last. Stops its server.

    Raises ConfigError, UnsupportedModel or Unreachable where there is no model to serve.
    """
    from learner.base_model import resolve_model

    model = resolve_model(config.model, lambda what, part: _say(f"{what}: {part:.0%}"))
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    from learner.live.client import LiveWeights
    from learner.live.inspection import Check, inspect
    from learner.reference import reference_of

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    prompt = AutoTokenizer.from_pretrained(model)(_PROMPT)["input_ids"][:_TOKENS]
    _say("reference: what transformers computes of it")
    reference = reference_of(model, prompt)
    _say(f"server: starting {model.name}, which may take minutes")
    try:
        with _server(config, model) as server:
            live = LiveWeights.attach(server.arena)
            yield Check("server", True, f"{model.name}: started, generation {live.generation}")
            try:
                yield from inspect(live, model, lambda ids: _ask(server.url, server.name, ids), reference)
            finally:
                live.close()
    except HeedloopError as error:
        yield Check("server", False, str(error), "change what it names, or serve another model")


@contextmanager
def _server(config: ServerConfig, model: Path) -> Iterator[TemporaryServer]:
    """A server that runs for the time of the block, on the base version.

    Raises Unreachable, with the reason from its log, when it does not start.
    """
    arena = SHARED / f"{PREFIX}doctor-{os.getpid()}"
    config = config.model_copy(update={"max_model_len": min(config.max_model_len, _MODEL_LENGTH)})
    usual = signal.signal(signal.SIGTERM, signal.default_int_handler)  # else the server would outlive us
    try:
        with (
            tempfile.TemporaryDirectory(prefix="heedloop-doctor-", ignore_cleanup_errors=True) as folder,
            temporary_server(config, model, arena, Path(folder)) as server,
        ):
            yield server
    finally:
        signal.signal(signal.SIGTERM, usual)


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _ask(url: str, name: str, prompt: Sequence[int]) -> Rows:
    body = {"model": name, "prompt": list(prompt), "temperature": 0, "max_tokens": 1, "prompt_logprobs": _TOP}
    try:
        reply = httpx.post(f"{url}/v1/completions", json=body, timeout=_ANSWER_S, trust_env=False)
    except httpx.TransportError as error:
        raise Unreachable(f"{url}: the model server does not answer ({error})") from error
    if reply.status_code != httpx.codes.OK:
        raise GuardRefused(f"{url}: refused a prompt: {reply.text[:200]}")
    rows = reply.json()["choices"][0]["prompt_logprobs"][1:]
    return [{int(token): entry["logprob"] for token, entry in row.items()} for row in rows]
