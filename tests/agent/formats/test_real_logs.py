"""Every real log: its counts, and that following it piece by piece gives what reading it at once gives."""

from __future__ import annotations

import json
from pathlib import Path

from logs import NOW, read_in_pieces

from agent.reading import read_file, summarise

KEYS = {
    "typed": "user_turns",
    "tool_calls": "tool_calls",
    "tool_results": "tool_results",
    "interrupts": "interrupts",
}
FOLDERS = {
    "claude_code": "claude-code",
    "codex_rollout": "codex",
    "gemini_cli": "gemini",
    "openai_http": "openai-http",
    "openhands": "openhands",
    "pi_openclaw": "pi",
    "swe_agent": "swe-agent",
    "tau_bench": "tau-bench",
}


def test_counts_are_those_of_expected_counts_json(agent_logs: Path) -> None:
    expected = json.loads((agent_logs / "expected_counts.json").read_text(encoding="utf-8"))
    assert expected
    wrong = {}
    for name, counts in expected.items():
        reading = read_file(agent_logs / name, NOW)
        found = summarise([reading], None)
        got = {key: getattr(found, ours) for key, ours in KEYS.items()}
        got["assistant"] = sum(turn.role == "assistant" for turn in reading.turns)
        if reading.format == "pi":
            got["typed"] += found.noise
        further = sum(max(0, len(turn.tool_calls) - 1) for turn in reading.turns)
        differing = {key: (want, got[key]) for key, want in counts.items() if got[key] != want}
        if found.decision_points != got["assistant"] + further:
            differing["decision_points"] = (got["assistant"] + further, found.decision_points)
        if differing:
            wrong[name] = differing
    assert wrong == {}


def test_every_file_is_recognised_and_has_decision_points(agent_logs: Path) -> None:
    for folder, form in FOLDERS.items():
        files = [
            path
            for path in sorted((agent_logs / folder).iterdir())
            if path.suffix in (".jsonl", ".json", ".traj", ".yaml")
        ]
        assert files
        for path in files:
            reading = read_file(path, NOW)
            assert (path.name, reading.format) == (path.name, form)
            assert reading.has_decisions, path.name
            assert len({turn.event_id for turn in reading.turns}) == len(reading.turns)
            fixture = path.name == "fixture_daaain_edge_cases.jsonl"  # made of broken records on purpose
            assert (len(reading.rejected) > 0) == fixture, path.name


def test_following_a_log_with_a_kill_after_every_line_gives_the_same(agent_logs: Path) -> None:
    followed = [p for folder in FOLDERS for p in sorted((agent_logs / folder).glob("*.jsonl"))]
    assert len(followed) > 20
    for path in followed:
        at_once, in_pieces = read_file(path, NOW).parsed, read_in_pieces(path.read_bytes())
        assert list(dict.fromkeys(in_pieces.turns)) == list(at_once.turns), path.name
        assert (in_pieces.noise, in_pieces.interrupts) == (at_once.noise, at_once.interrupts)


def test_reading_again_gives_the_same_ids_also_when_the_log_has_grown(agent_logs: Path) -> None:
    for folder in FOLDERS:
        for path in sorted((agent_logs / folder).glob("*.jsonl")):
            data = path.read_bytes()
            half = data[: data.find(b"\n", len(data) // 2) + 1]
            whole = {turn.event_id: turn for turn in read_in_pieces(data).turns}
            part = read_in_pieces(half).turns
            same = [turn for turn in part if whole.get(turn.event_id) == turn]
            assert len(part) - len(same) <= 1, path.name  # the last message may have been half of one
