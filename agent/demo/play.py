"""The entry of the demo: start the system, play the scenario, write summary and picture."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from agent.bus import Peer
from agent.demo.board import Board
from agent.demo.scenario import AGENT, CORRECTIONS, Scenario
from agent.demo.system import System
from policies.errors import Interrupted


async def run_demo(entry: Path, home: Path, seed: int, model: str) -> dict[str, Any]:
    """Run the whole demo under `home`/demo; returns the summary, also written to demo/summary.json."""
    task = asyncio.current_task()
    if task is not None:  # SIGTERM ends the demo as ctrl-c does: the system is stopped first
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    folder = home / "demo"
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    began = time.time()
    with Board(began) as board:
        board.say("start", "broker, vLLM server, learner and loop")
        try:
            async with await System.start(entry, folder / "state", _settings(work, seed, model)) as system:
                await system.wait_ready()
                board.say("ready", f"{system.known('serving')['url']} serves live weights")
                async with Peer(str(system.known("broker_url"))) as peer:
                    scenario = Scenario(system, peer, board, seed, work)
                    summary = await scenario.play()
                scenario.draw(folder / "picture.png")
        except asyncio.CancelledError:
            raise Interrupted("the demo was interrupted; the system it ran is stopped") from None
        summary["total_seconds"] = round(time.time() - began, 1)
    (folder / "summary.json").write_text(json.dumps(summary) + "\n")
    return summary


def _settings(work: Path, seed: int, model: str) -> dict[str, str]:
    return {
        "HEEDLOOP_BUS__AGENT": AGENT,
        "HEEDLOOP_SERVER__MODEL": model,
        "HEEDLOOP_SOURCE__WATCH": json.dumps([str(work / "*.jsonl")]),
        "HEEDLOOP_TRAINING__SEED": str(seed),
        "HEEDLOOP_TRAINING__START_AFTER_EXAMPLES": str(CORRECTIONS),
    }
