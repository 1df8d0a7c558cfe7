"""Right answers for decisions that were ignored and that nobody corrected in words.

The live model is asked again with a few corrected answers as earlier turns: a small model cannot use a
restated direction, but it can use examples of it. The answer is kept only when the constraint checker calls
it followed.
"""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import structlog

from policies.constraints import read_constraints
from policies.errors import Unreachable
from policies.example import Example
from policies.turn import Message
from store import examples
from store.database import Store

log = structlog.get_logger()

SHOTS = 3
MAX_TOKENS = 160
TIMEOUT_S = 60.0


def follows(example: Example, answer: str) -> bool | None:
    """Judge an answer by the checkable part of the example's direction; None where nothing is checkable."""
    verdicts = [c.check(answer) for c in read_constraints(example.direction or "").constraints]
    known = [verdict for verdict in verdicts if verdict is not None]
    return all(known) if known else None


class Rehearsal:
    """Completes examples that still need a pair."""

    def __init__(self, store: Store, url: str, model: str) -> None:
        self._store = store
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_S)
        self._model = model

    def complete(self) -> None:
        """Ask for a right answer to each decision that has none, once corrected answers exist to show.

        An answer that is not followed refuses the example: no pair is better than a wrong one.
        """
        waiting = examples.needing_pair(self._store)
        shown = [e for e in examples.learned(self._store) if e.origin == "correction"] if waiting else []
        for example in waiting:
            shots = shown[-SHOTS:]
            if len(shots) < SHOTS:
                return
            answer = self._ask(few_shot(example, shots))
            kept = answer if follows(example, answer) else None
            with self._store.write() as connection:
                examples.complete_pair(connection, example.id, kept, "few_shot")
            log.info("pair from corrected turns", example=example.id, kept=kept is not None)

    def _ask(self, messages: Sequence[Message]) -> str:
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS}
        try:
            response = self._http.post("/v1/chat/completions", json=body)
            response.raise_for_status()
        except httpx.HTTPError as error:
            raise Unreachable(f"server {self._http.base_url} does not answer: {error}") from error
        return str(response.json()["choices"][0]["message"]["content"] or "")


def few_shot(example: Example, shots: Sequence[Example]) -> list[Message]:
    """Return the example's context with corrected answers as earlier turns, after its system turns."""
    system = [m for m in example.context if m["role"] in ("system", "developer")]
    rest = [m for m in example.context if m["role"] not in ("system", "developer")]
    earlier: list[Message] = []
    for shot in shots:
        asked = next(m for m in reversed(shot.context) if m["role"] == "user")
        earlier += [asked, {"role": "assistant", "content": shot.chosen}]
    return [*system, *earlier, *rest]
