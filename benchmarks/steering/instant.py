"""From a correction to its effect, on a running system with `steering.auto`, and nothing trained."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from agent.ingest import Ingest
from agent.language import detect_language
from benchmarks.faults.round import until
from benchmarks.running_system import known, running
from benchmarks.steering.directions import DIRECTIONS, PAIRS, questions
from policies.config import Config
from store import steering, versions, wakeup
from store.clock import new_id
from store.database import Store, open_store

RULE = "Write your whole answer in lowercase letters only."
GAIN = 0.2
QUESTIONS = 24
TOKENS = 16
_PATIENCE_S, _SETTLED_S = 300.0, 1200.0


def measure(home: Path) -> dict[str, Any]:
    """Correct ten answers at once; time until the vector is on, and until the follow-rate has risen by 0.2.

    The questions of the rate do not mention the direction; the time ends with their last answer. It begins
    when the learner has settled: on a fresh store it first measures the base model.
    """
    shutil.rmtree(home, ignore_errors=True)  # of an attempt that was interrupted: its vector may still be on
    home.mkdir(mode=0o700)
    lower = next(direction for direction in DIRECTIONS if direction.name == "lowercase")
    every = questions()
    with running(home, STEERING__AUTO="true", TRAINING__ENABLED="false"):
        if not until(lambda: known(home, "activity") == "paused", _SETTLED_S):  # it may not train
            raise RuntimeError("the learner did not come to rest; see its log")
        serving = known(home, "serving")
        store = open_store(home)

        def rate(asked: Sequence[str]) -> float:
            found = _answers(serving, asked)
            return sum(map(lower.follows, found)) / len(found)

        held_out = every[PAIRS:][:QUESTIONS]
        off = rate(held_out)
        turns = _say(store, every[:PAIRS], _answers(serving, every[:PAIRS]))
        began = time.monotonic()
        _correct(store, home, turns, str.lower)
        while not _is_on(store, began):
            time.sleep(0.05)
        switched = time.monotonic() - began
        on = rate(held_out)
        ended = time.monotonic() - began
        store.close()
    return {
        "effect_seconds": ended if on >= off + GAIN else None,
        "instant": {
            "switched_on_seconds": switched,
            "off": off,
            "on": on,
            "n": len(held_out),
            "corrections": PAIRS,
        },
    }


def _is_on(store: Store, began: float) -> bool:
    if time.monotonic() - began > _PATIENCE_S:
        raise RuntimeError("no vector was switched on; see the learner's log")
    version = versions.in_force(store)
    return version is not None and bool(steering.of_version(store, version))


def _say(store: Store, asked: Sequence[str], answers: Sequence[str]) -> list[tuple[str, str, str]]:
    """Keep one conversation for each question. Returns (conversation, answer's event id, answer)."""
    ingest, kept = Ingest(store, Config(), detect_language), []
    for question, answer in zip(asked, answers, strict=True):
        conversation, event = new_id(), new_id()
        rows = (("system", RULE, new_id()), ("user", question, new_id()), ("assistant", answer, event))
        for role, content, event_id in rows:
            ingest.turns(
                "agent",
                {
                    "event_id": event_id,
                    "conversation_id": conversation,
                    "role": role,
                    "content": content,
                },
                "mqtt",
            )
        kept.append((conversation, event, answer))
    return kept


def _correct(store: Store, home: Path, turns: Sequence[tuple[str, str, str]], correct: Any) -> None:
    ingest = Ingest(store, Config(), detect_language)
    for conversation, event, answer in turns:
        ingest.correction(
            "agent",
            {
                "event_id": new_id(),
                "conversation_id": conversation,
                "turn_event_id": event,
                "verdict": "ignored",
                "direction": RULE,
                "corrected": correct(answer),
                "author": "benchmark",
            },
            "cli",
        )
    wakeup.notify(home, "learner")


def _answers(serving: dict[str, str], asked: Sequence[str]) -> list[str]:
    with httpx.Client(base_url=serving["url"], timeout=300, trust_env=False) as client:

        def answer(question: str) -> str:
            body = {
                "model": serving["model_name"],
                "messages": [{"role": "user", "content": question}],
                "temperature": 0,
                "max_tokens": TOKENS,
            }
            reply = client.post("/v1/chat/completions", json=body).raise_for_status()
            return str(reply.json()["choices"][0]["message"]["content"] or "").strip()

        with ThreadPoolExecutor(len(asked)) as pool:  # a server answers them side by side
            return list(pool.map(answer, asked))
