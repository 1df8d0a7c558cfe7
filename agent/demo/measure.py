"""Held-out measurements through the server's own HTTP API: does it follow, does it leak."""

from __future__ import annotations

from collections.abc import Sequence

from agent.demo.client import ChatClient
from agent.demo.material import Prompt, follows, leaks

MAX_TOKENS = 96


async def follow_rate(client: ChatClient, prompts: Sequence[Prompt]) -> float:
    """Return the share of fresh conversations under the direction whose answer follows it."""
    answers = await client.ask_all([prompt.messages for prompt in prompts], MAX_TOKENS)
    kept = [follows(a.text, p.key or "") for a, p in zip(answers, prompts, strict=True)]
    return sum(kept) / len(kept)


async def leak_rate(client: ChatClient, prompts: Sequence[Prompt]) -> float:
    """Return the share of conversations WITHOUT the direction that are answered as if it were given."""
    answers = await client.ask_all([prompt.messages for prompt in prompts], MAX_TOKENS)
    return sum(leaks(answer.text) for answer in answers) / len(answers)
