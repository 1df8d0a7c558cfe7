"""A judge model on LLMBar (which of two outputs follows) and StructFlowBench (agrees with another judge?)."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from agent.labellers import judge as judging
from benchmarks.label_sets.constraints import rate
from policies.config import JudgeConfig

_LLMBAR = Path("A") / "llmbar" / "Natural.json"
_STRUCTFLOW = Path("A") / "structflowbench"
_CONTEXT = 2_000  # characters


async def measure(data: Path, config: JudgeConfig, rows: int) -> dict[str, Any]:
    """Return the judge's weight by its own set, and its figures on at most `rows` rows of each data set."""
    async with judging.client_for(config) as client:
        judge = judging.Judge(config, client)
        calibration = await judging.calibrate(judge, config)
        return {
            "model": config.model,
            "votes": config.votes,
            "weight": calibration.weight,
            "own_set_rows": calibration.rows,
            **await _llmbar(data, judge, rows),
            **await _structflow(data, judge, rows),
        }


async def _llmbar(data: Path, judge: judging.Judge, rows: int) -> dict[str, Any]:
    """The output that follows must be called `followed` with more votes than the other."""
    if not (data / _LLMBAR).is_file():
        return {"llmbar": f"absent: {_LLMBAR}"}
    found = json.loads((data / _LLMBAR).read_text(encoding="utf-8"))[:rows]
    right = 0
    for row in found:
        shares = []
        for output in (row["output_1"], row["output_2"]):
            verdict, share, _ = await judge.majority("", row["input"], output)
            shares.append(share if verdict == "followed" else -share)
        right += shares[row["label"] - 1] > shares[2 - row["label"]]
    return rate("llmbar_accuracy", right, len(found))


async def _structflow(data: Path, judge: judging.Judge, rows: int) -> dict[str, Any]:
    agreed = n = 0
    for context, demand, answer, kept in islice(_demands(data / _STRUCTFLOW), rows):
        verdict, _, _ = await judge.majority(context, demand, answer)
        agreed += verdict == ("followed" if kept else "ignored")
        n += 1
    return (
        rate("structflowbench_agreement", agreed, n) if n else {"structflowbench": f"absent: {_STRUCTFLOW}"}
    )


def _demands(folder: Path) -> Iterator[tuple[str, str, str, bool]]:
    """Yield (context, demand, answer, whether the data's judge says it is kept)."""
    for path in sorted(folder.glob("*_evaluate.json")):
        for conversation in json.loads(path.read_text(encoding="utf-8")):
            for turn in conversation["whole_conv"]:
                try:
                    verdicts = ast.literal_eval(turn["judge result"])
                except (KeyError, SyntaxError, ValueError, TypeError):
                    continue
                for demand, verdict in zip(turn["constraints"], verdicts, strict=False):
                    kept = str(verdict.get("judgement", "")).lower().startswith("yes")
                    yield turn["user prompt"][-_CONTEXT:], demand["content"], turn["response"], kept
