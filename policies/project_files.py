"""Project files with rules for agents (AGENTS.md, CLAUDE.md and their like) where a log shows them.

They come as a block in a message, or as the result of a tool call that reads one.
"""

from __future__ import annotations

import json
import re

from policies.turn import ToolCall

NAMES = (
    "AGENTS.md", "AGENT.md", "CLAUDE.md", "CLAUDE.local.md", "GEMINI.md", "CODEX.md", "CONVENTIONS.md",
    "CONTRIBUTING.md", ".cursorrules", ".clinerules", ".windsurfrules", "copilot-instructions.md",
)  # fmt: skip
"""Names of files whose rules an agent is to follow."""

_NAME = r"[\w./~ -]{0,200}?(?:" + "|".join(map(re.escape, NAMES)) + r")\b"
_HEADER = re.compile(
    rf"^(?:#+ )?(?:contents of |instructions from |project instructions from |rules from |from |"
    rf"file: ?)?{_NAME}"
    r"(?: instructions\b| \(|:| for )[^\n]{0,200}$",
    re.I | re.M,
)
_OPENING_TAG = re.compile(
    r"<(instructions|project_instructions|user_instructions|agents_md|claude_md|rules)>", re.I
)
_NUMBERED = re.compile(r"^[ \t]*\d{1,6}(?:→|\t|: ?|\| ?)", re.M)
_READS = re.compile(r"read|view|open|cat|get|fetch|load|show", re.I)
_SHOWING = re.compile(r"(?:^|[;&|\"]\s*)(?:cat|head|tail|less|more|bat|sed -n|nl|type)\b[^;&|]*")
_LONGEST = 64_000  # characters of a file that are read


def block(content: str) -> str:
    """Return what a message quotes of such files; empty where it quotes none.

    A block goes from the line that names the file to the closing tag after it, or to the end of the message.
    """
    if not any(name in content for name in NAMES):
        return ""
    header = _HEADER.search(content)
    if header is None:
        return ""
    body = content[header.end() : header.end() + _LONGEST]
    tag = _OPENING_TAG.search(body[:500])
    if tag is None:
        return body
    end = body.lower().find(f"</{tag.group(1).lower()}>", tag.end())
    return body[tag.end() : end if end >= 0 else len(body)]


def reads_one(call: ToolCall) -> bool:
    """Say whether a tool call shows such a file."""
    if not any(name in call.arguments for name in NAMES):
        return False
    try:
        arguments = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return False
    if not isinstance(arguments, dict):
        return False
    if _READS.search(call.name) or arguments.get("command") == "view":
        return any(isinstance(value, str) and value.endswith(NAMES) for value in arguments.values())
    commands = " ".join(str(arguments[key]) for key in ("command", "cmd") if key in arguments)
    return any(name in found for found in _SHOWING.findall(commands) for name in NAMES)


def as_text(result: str) -> str:
    """Return the file as a tool showed it, without line numbers in front of its lines."""
    text = result[:_LONGEST]
    lines = text.count("\n") + 1
    return _NUMBERED.sub("", text) if len(_NUMBERED.findall(text)) > lines // 2 else text
