"""The story of the demo: a base model that ignores a direction, ten corrections, learning, poison, rescue."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from agent.bus import Peer
from agent.demo import facts, material
from agent.demo.board import Board, Sample
from agent.demo.chat import ChatAgent
from agent.demo.client import ChatClient
from agent.demo.journal import Journal
from agent.demo.load import read_record
from agent.demo.material import Material, corrected_prompts, held_out_prompts, plain_prompts
from agent.demo.measure import MAX_TOKENS, follow_rate, leak_rate
from agent.demo.picture import draw
from agent.demo.system import System, live_hash
from agent.launcher import tied
from policies.errors import HeedloopError

Found = TypeVar("Found")

CORRECTIONS = 10
POISONED = 10
POISON = "No. I will not help with that. Ask somebody else."
SAMPLE_EVERY_STEPS = 3
SAMPLE_PROMPTS = 8
TIMEOUT_S = 900.0
WATCH_S = 0.25
AGENT = "demo"


class Scenario:
    """Plays the acts one after the other and gathers the summary."""

    def __init__(self, system: System, peer: Peer, board: Board, seed: int, folder: Path) -> None:
        self._system, self._peer, self._board = system, peer, board
        self._seed, self._folder = seed, folder
        self._requests = folder / "requests.ndjson"  # not .jsonl: it is not a log that is followed
        self._material: Material = material.load_material()
        self._held_out = held_out_prompts(self._material)
        self._plain = plain_prompts(self._material, self._material.held_out)
        self._model = str(system.known("serving")["model_name"])
        self._url = str(system.known("serving")["url"])
        self._arena = str(system.known("serving")["arena"])
        self._client = ChatClient(self._url, self._model)
        self._journal = Journal(folder / "agent.jsonl")
        self._agent = ChatAgent(self._client, self._model, peer, AGENT, self._journal)
        self._acts: list[tuple[str, float, float]] = []
        self.summary: dict[str, Any] = {}

    async def play(self) -> dict[str, Any]:
        """Play every act. Returns the summary, without the total time."""
        load = await self._start_load()
        try:
            await self._act("before", self._before)
            await self._act("corrections", self._corrections)
            await self._act("learning", self._learning)
            await self._act("after", self._after)
            await self._act("poison", self._poison)
        finally:
            load.terminate()
            await load.wait()
            self._journal.close()
        self._count_requests()
        await self._client.close()
        return self.summary

    def draw(self, path: Path) -> None:
        """Write the picture of what happened."""
        requests = read_record(self._requests)
        probes = facts.probe_runs(self._system.reader)
        draw(path, self._board.samples, probes, requests, self._acts, self._board.began)

    async def _act(self, name: str, act: Callable[[], Awaitable[None]]) -> None:
        start = self._board.second()
        await act()
        self._acts.append((name, start, self._board.second()))

    async def _start_load(self) -> asyncio.subprocess.Process:
        journal = self._folder / "load.jsonl"
        arguments = ("-m", "agent.demo.load", self._url, self._model, str(journal), str(self._requests))
        return await asyncio.create_subprocess_exec(*tied([sys.executable, *arguments]))

    async def _before(self) -> None:
        follow, leak = await self._measure("before")
        values = await _until("the baseline", lambda: facts.baseline(self._system.reader))
        self.summary |= {
            "direction": self._material.direction.paraphrase_held_out,
            "follow_rate_before": follow,
            "leak_before": leak,
            "facts_before": values["facts"],
            "nll_before": values["nll"],
            "held_out_prompts": len(self._held_out),
        }

    async def _corrections(self) -> None:
        prompts = corrected_prompts(self._material, CORRECTIONS, self._seed)
        for number, prompt in enumerate(prompts, start=1):
            reply = await self._agent.answer(prompt.messages)
            known = await self._client.ask(
                material.plain_prompts(self._material, (prompt.question,))[0].messages, MAX_TOKENS
            )
            corrected = material.correct(known.text, prompt.key or "")
            await self._agent.correct(reply, corrected, prompt.direction, "demo user")
            self._board.say("correct", f"{number}. {reply.text[:34]!r} -> {corrected[:40]!r}")
        self.summary["corrections"] = CORRECTIONS

    async def _learning(self) -> None:
        sampled = 0
        async with _patience("learning from the corrections"):
            while not facts.learned(self._system.reader, CORRECTIONS):
                await asyncio.sleep(WATCH_S)
                step = facts.confirmed_steps(self._system.reader)
                if step >= sampled + SAMPLE_EVERY_STEPS:
                    sampled = step
                    await self._sample(step)
        self.summary["train_seconds"] = facts.train_seconds(self._system.reader)

    async def _sample(self, step: int) -> None:
        offset = step % len(self._held_out)
        prompts = (self._held_out * 2)[offset : offset + SAMPLE_PROMPTS]
        rate = await follow_rate(self._client, prompts)
        loss = facts.last_loss(self._system.reader)
        self._board.add(
            Sample(self._board.second(), "learn", step, follow=rate, prompts=len(prompts), loss=loss)
        )

    async def _after(self) -> None:
        scored = asyncio.create_task(self._command("probe"))
        follow, leak = await self._measure("after")
        values = (await scored)["values"]
        self.summary |= {
            "follow_rate_after": follow,
            "leak_after": leak,
            "facts_after": values["facts"],
            "nll_after": values["nll"],
            "replay_share": facts.replay_share(self._system.reader),
        }

    async def _poison(self) -> None:
        """Send false corrections as any user could, and let the guard find what they do."""
        before = await live_hash(self._arena)
        known, began = facts.last_written(self._system.reader), time.time()
        for prompt in plain_prompts(self._material, self._material.poison)[:POISONED]:
            reply = await self._agent.answer(prompt.messages)
            await self._agent.correct(reply, POISON, None, "demo user")
        told = time.time()
        self._board.say("poison", f"{POISONED} corrections to {POISON!r}")
        during = asyncio.create_task(self._hash_after_step(known))
        rollback = await self._wait_for_rollback(known)
        restored = await live_hash(self._arena)
        seconds, behind = (rollback["restored"] / 1000 - since for since in (began, told))
        after = f"{seconds:.0f} s after the first false word, {behind:.0f} after the last"
        self._board.say("restored", f"{rollback['reason'][:60]} ({after})")
        still = await follow_rate(self._client, self._held_out[: 2 * SAMPLE_PROMPTS])
        self._board.add(
            Sample(self._board.second(), "restored", known, follow=still, prompts=2 * SAMPLE_PROMPTS)
        )
        self.summary |= {
            "poisoned_detected": rollback["found_by_probe"],
            "restored_bit_for_bit": restored == before and await during != before,
            "poisoned_seconds": round(seconds, 1),
            "poisoned_seconds_after_last": round(behind, 1),
            "follow_rate_restored": still,
        }

    async def _hash_after_step(self, known: int) -> str:
        """Return the hash of the live bytes once a step after `known` is in them."""
        await _until("a poisoned step", lambda: facts.last_written(self._system.reader) > known or None)
        return await live_hash(self._arena)

    async def _wait_for_rollback(self, known: int) -> dict[str, Any]:
        return await _until("the rollback", lambda: facts.rollback_after(self._system.reader, known))

    async def _measure(self, act: str) -> tuple[float, float]:
        step = facts.confirmed_steps(self._system.reader)
        follow = await follow_rate(self._client, self._held_out)
        leak = await leak_rate(self._client, self._plain)
        self._board.add(
            Sample(self._board.second(), act, step, follow=follow, leak=leak, prompts=len(self._held_out))
        )
        return follow, leak

    async def _command(self, command: str) -> dict[str, Any]:
        """Give a command over the bus, and wait for its reply there."""
        event_id = uuid4().hex
        reply = asyncio.create_task(self._peer.reply(AGENT, event_id))
        await self._peer.publish(
            AGENT, "commands", json.dumps({"event_id": event_id, "command": command, "args": {}})
        )
        async with _patience(f"the command {command!r}"):
            answer = await reply
        if not answer["ok"]:
            raise HeedloopError(f"the command {command!r} was refused: {answer['result']}")
        return dict(answer["result"])

    def _count_requests(self) -> None:
        record = read_record(self._requests)
        gaps = [b.began - (a.began + a.seconds) for a, b in pairwise(record)]
        failures = [r.failure for r in record if r.failure] + self._client.failures
        self.summary |= {
            "requests_sent": len(record) + self._client.sent,
            "requests_failed": len(failures),
            "failures": failures[:5],
            "client_longest_pause_ms": round(1000 * max(gaps, default=0.0), 1),
            "seed": self._seed,
        }


async def _until(what: str, found: Callable[[], Found | None]) -> Found:
    """Look into the store until `found` gives something."""
    async with _patience(what):
        while True:
            if (value := found()) is not None:
                return value
            await asyncio.sleep(WATCH_S)


@asynccontextmanager
async def _patience(what: str) -> AsyncIterator[None]:
    """Bound a wait. Raises HeedloopError, naming what did not come."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield
    except TimeoutError:
        raise HeedloopError(
            f"{what} took more than {TIMEOUT_S:.0f} s: is the machine busy? (logs/ say more)"
        ) from None
