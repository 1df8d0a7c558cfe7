"""What a tool call does, as far as its arguments say: the shell commands it runs, the paths it changes."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Sequence
from functools import lru_cache

from policies.turn import ToolCall

_SHELL = re.compile(r"bash|shell|terminal|command|exec|run_?(?:cmd|in)|^sh$|^run$", re.I)
_WRITES = re.compile(
    r"write|edit|create|replace|patch|insert|update|delete|remove|move|rename|notebook", re.I
)
_COMMAND_KEYS = ("command", "cmd", "script", "commands", "input", "code")
_PATH_KEYS = (
    "path",
    "file_path",
    "filename",
    "file",
    "notebook_path",
    "target_file",
    "absolute_path",
    "old_path",
)
_PATCHED = re.compile(r"\*\*\* (?:Update|Add|Delete) File: (.+?)(?=\\n|\n|$)")
_HEREDOC = re.compile(r"<<-?\s*['\"]?(\w+)['\"]?([^\n]*)\n.*?^\1$", re.S | re.M)
_MOST_HEREDOCS = 20
_ASSIGNMENT = re.compile(r"\w+=\S*")
_LONGEST = 20_000  # characters of a command that are read
_SEPARATORS = re.compile(r"&&|\|\||[;|\n]")
_PREFIXES = frozenset({"sudo", "env", "time", "nohup", "exec", "command", "then", "do", "xargs"})
_CHANGERS = frozenset({"rm", "mv", "touch", "tee", "truncate", "unlink", "shred", "chmod", "chown"})


def shell_commands(call: ToolCall) -> Iterator[tuple[str, ...]]:
    """Yield the simple commands of a shell call as words; nothing for another tool."""
    return iter(_commands(call.arguments) if _SHELL.search(call.name) else ())


def changed_paths(call: ToolCall) -> Iterator[str]:
    """Yield the paths that a call writes, moves or deletes, as far as its arguments say so."""
    if "*** " in call.arguments:
        yield from (path.strip() for path in _PATCHED.findall(call.arguments))
    if _WRITES.search(call.name):
        arguments = _arguments(call.arguments)
        if arguments.get("command") != "view":
            yield from (str(arguments[key]) for key in _PATH_KEYS if isinstance(arguments.get(key), str))
    for command in shell_commands(call):
        yield from _changed_by(command)


def _changed_by(command: Sequence[str]) -> Iterator[str]:
    program, words = command[0], [word for word in command[1:] if not word.startswith("-")]
    if program in {"cp", "sed"}:  # only the last is written
        yield from words[-1:] if program == "cp" or any(w.startswith("-i") for w in command[1:]) else ()
    elif program in _CHANGERS:
        yield from words
    for place, word in enumerate(command):
        if word in {">", ">>"}:
            yield from command[place + 1 : place + 2]
        elif word.startswith(">") and not word.startswith((">&", ">/dev/")):
            yield word.lstrip(">")


@lru_cache(maxsize=1024)
def _commands(arguments: str) -> tuple[tuple[str, ...], ...]:
    parsed = _arguments(arguments)
    found: list[tuple[str, ...]] = []
    for key in _COMMAND_KEYS:
        script = _script(parsed.get(key))[:_LONGEST]
        if script.count("<<") <= _MOST_HEREDOCS:  # what a here-document holds is no command
            script = _HEREDOC.sub(r"\2", script)
        for line in _SEPARATORS.split(script):
            found += _with_and_without_prefix(_split(line))
    return tuple(found)


def _script(command: object) -> str:
    """Return a command as shell text: some tools take a list of words, often of a shell and its script."""
    if not isinstance(command, list):
        return str(command or "")
    words = [str(word) for word in command]
    shell = (
        len(words) > 2 and words[0].rsplit("/", 1)[-1] in {"bash", "sh", "zsh"} and words[1].startswith("-")
    )
    return words[2] if shell else shlex.join(words)


def _with_and_without_prefix(words: list[str]) -> Iterator[tuple[str, ...]]:
    """Yield "sudo rm x" and "rm x"; nothing for a blank line."""
    if words and words[0] == "sudo":
        yield tuple(words)
    while words and (words[0] in _PREFIXES or _ASSIGNMENT.fullmatch(words[0])):
        words = words[1:]
    if words:
        yield tuple(words)


def _split(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # an open quotation mark: the line goes on elsewhere
        return line.split()


def _arguments(text: str) -> dict[str, object]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def runs(command: Sequence[str], wanted: Sequence[str]) -> bool:
    """Say whether a command is the wanted one: its program and subcommands in order, its options anywhere."""
    if not wanted or command[0].rsplit("/", 1)[-1] != wanted[0]:
        return False
    options = [word for word in wanted[1:] if word.startswith("-")]
    plain = [word for word in wanted[1:] if not word.startswith("-")]
    given = [word for word in command[1:] if not word.startswith("-")]
    return given[: len(plain)] == plain and all(_has_option(command, option) for option in options)


def _has_option(command: Sequence[str], option: str) -> bool:
    if option in command or option.startswith("--"):
        return any(word == option or word.startswith(option + "=") for word in command)
    letters = set(option[1:])  # -rf is -r -f is -fr
    given = {letter for word in command if re.fullmatch(r"-[a-zA-Z]+", word) for letter in word[1:]}
    return letters <= given


def within(path: str, protected: str) -> bool:
    """Say whether a path is the protected one, lies in it, or ends with it."""
    parts = [part for part in path.replace("\\", "/").split("/") if part not in {"", "."}]
    wanted = [part for part in protected.replace("\\", "/").split("/") if part not in {"", "."}]
    size = len(wanted)
    return any(parts[at : at + size] == wanted for at in range(len(parts) - size + 1)) if size else False
