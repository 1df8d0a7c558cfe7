"""The code in the documents: where it stands, how it is to be tested, and whether what it calls exists.

How a block is tested stands in an HTML comment before it (CONTRIBUTING.md, "Commands in the docs").
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
import yaml

import run
from learner.probing.own import read_own
from policies.config import Config
from store.settings import load_config

ROOT = Path(__file__).parent.parent
FILES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("requirements/*.md")])
MODES = {"run", "parse", "system", "watch", "file"}
SHELL = {"bash", "sh", "console"}
DATA = {"toml", "yaml", "json"}
FOREIGN = {
    "cp",
    "curl",
    "claude",
    "git",
    "jq",
    "mkdir",
    "mosquitto_pub",
    "mosquitto_sub",
    "pip",
    "pipx",
    "sqlite3",
}
FOREIGN |= {"systemctl", "touch", "useradd", "datasette", "apt-get", "cat", "export", "cd", "mktemp"}
"""Programs that are not ours: their options are not known here."""
_FENCE = re.compile(r"^( *)```(\w*)[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
_MARK = re.compile(r"<!-- test: (\w+)(?: ([\w./-]+))?(?: \((.+)\))? -->\n *$")
_COMMAND = re.compile(
    r"^\s*(?:\$ )?(?:sudo )?(?:\S*python\S* |run\.py |make [a-z]|\.venv/|curl |mosquitto_|pip )"
)
_COMMENT = re.compile(r"(^|\s)#(\s.*)?$")
_INNER = re.compile(r"\$\(([^()]*)\)")


@dataclass(frozen=True)
class Block:
    """One block of code; `mode` says how it is tested, `target` is the file that mode `file` writes."""

    file: Path
    line: int
    language: str
    mode: str
    target: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path) -> list[Block]:
    """Return every block of code of a Markdown file: fenced, or indented and beginning with a command."""
    text = file.read_text()
    found = []
    for fence in _FENCE.finditer(text):
        mark = _MARK.search(text[: fence.start()])
        mode, target, reason = ("run", "", "") if mark is None else (part or "" for part in mark.groups())
        body = "".join(line.removeprefix(fence[1]) for line in fence[3].splitlines(keepends=True))
        found.append(
            Block(file, text.count("\n", 0, fence.start()) + 1, fence[2], mode, target, reason, body)
        )
    return sorted([*found, *_indented(file, text)], key=lambda block: block.line)


def _indented(file: Path, text: str) -> Iterator[Block]:
    bare = _FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), text)
    for part in re.finditer(r"(?:^[ ]{4,}\S.*\n)+", bare, re.MULTILINE):
        first = part[0].lstrip()
        if _COMMAND.match(first) and bare[: part.start()].endswith("\n\n"):
            line = bare.count("\n", 0, part.start()) + 1
            yield Block(file, line, "indented", "parse", "", "indented", part[0])


def commands(block: Block) -> list[list[str]]:
    """Return the simple commands of a shell block, as words. Raises ValueError for one that is no shell."""
    text = block.text
    if block.language == "console":
        text = "".join(line[2:] + "\n" for line in text.splitlines() if line.startswith("$ "))
    subprocess.run(["bash", "-n", "-c", text], check=True, capture_output=True)
    found: list[list[str]] = []
    waiting = ""
    for line in text.replace("\\\n", " ").splitlines():
        waiting += _COMMENT.sub("", line) if not waiting else "\n" + line
        try:
            found += _split(waiting)
        except ValueError:  # a quote that ends on a later line
            continue
        waiting = ""
    if waiting:
        raise ValueError(f"{block}: not closed: {waiting!r}")
    return found


def _split(line: str) -> Iterator[list[str]]:
    for inner in _INNER.findall(line):
        yield from _split(inner)
    lexer = shlex.shlex(_INNER.sub("INNER", line), posix=True, punctuation_chars="|&;<>")
    lexer.whitespace_split, lexer.commenters = True, ""
    words: list[str] = []
    skip = False
    for word in lexer:
        if set(word) <= set("|&;"):
            yield words
            words = []
        elif skip or set(word) <= set("<>"):
            skip = not skip
        else:
            words.append(word)
    if words:
        yield words


def check(words: Sequence[str]) -> None:
    """See that what a command calls exists, and takes what it is given. Raises AssertionError, naming it."""
    words = list(words)
    while words and (re.fullmatch(r"\w+=.*", words[0], re.DOTALL) or words[0] == "sudo"):
        words = words[1:]
    if not words:
        return
    program, *rest = words
    name = Path(program).name
    if name.startswith("python") and rest[:1] == ["-m"]:
        check_module(rest[1], rest[2:])
    elif name.startswith("python") and Path(rest[0]).name == "run.py":
        check_verb(rest[1:])
    elif name.startswith("python"):
        assert rest[0] == "-c" or (ROOT / rest[0]).is_file(), f"no file {rest[0]}"
    elif name == "run.py":
        check_verb(rest)
    elif name == "make":
        check_target(rest)
    elif name == "bash":
        assert (ROOT / rest[0]).is_file(), f"no file {rest[0]}"
    else:
        assert name in FOREIGN, f"{program!r} is no program that is known here (tests/doc_blocks.py)"
    for word in rest:
        if re.match(r"(examples|deploy|docs|tests|requirements|benchmarks)/", word):
            assert (ROOT / word).exists(), f"no file {word}"


@cache
def command_line() -> Any:
    """Return the command line of run.py."""
    return typer.main.get_command(run.app)


def check_verb(words: Sequence[str]) -> None:
    """Parse the words of a verb as the command line does, without running it."""
    command = command_line()
    try:
        context = command.make_context("run.py", list(words))
        while hasattr(command, "commands"):
            left = [*context._protected_args, *context.args]
            if not left and command.invoke_without_command:  # a verb that is a room of its own
                return
            _, command, rest = command.resolve_command(context, left)
            context = command.make_context(command.name, rest, parent=context)
    except typer.Exit:  # --help
        return
    except Exception as error:
        raise AssertionError(f"run.py {shlex.join(words)}: {getattr(error, 'message', error)}") from error


def check_mention(span: str) -> None:
    """See that verb and options in a sentence exist; what they are given may be left out."""
    words = re.sub(r"[\[\]\\|/]", " ", span).split()
    command = command_line()
    while words and hasattr(command, "commands") and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        assert words[0] in command.commands, f"run.py has no verb {words[0]!r} ({span})"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        assert not word.startswith("--") or word.rstrip(".,:").split("=")[0] in known, f"{word} in {span!r}"


def check_module(name: str, words: Sequence[str]) -> None:
    """See that a module is there and, where it is ours, that its source names the options."""
    assert find_spec(name) is not None, f"no module {name}"
    place = ROOT / name.replace(".", "/")
    sources = [*place.glob("*.py")] if place.is_dir() else [place.with_suffix(".py")]
    if not sources[0].is_file():
        return
    text = "".join(source.read_text() for source in [*sources, *ROOT.glob("benchmarks/*.py")])
    for word in words:
        assert not word.startswith("--") or word == "--" or f'"{word.split("=")[0]}"' in text, (
            f"{word} of {name}"
        )


def check_target(words: Sequence[str]) -> None:
    """See that the Makefile has the targets, and knows the variables."""
    text = (ROOT / "Makefile").read_text()
    words = list(words[2:] if words[:1] == ["-C"] else words)
    for word in words:
        name, is_variable, _ = word.partition("=")
        known = f"$({name})" in text or f"$(or $({name})" in text if is_variable else f"\n{name}: " in text
        assert known, f"make {word}"


def check_data(block: Block, folder: Path) -> None:
    """Read a block of data; settings as the configuration, probes as probes."""
    if block.language == "json":
        json.loads(block.text)
    elif block.language == "toml":
        found = tomllib.loads(block.text)
        if found.keys() <= Config.model_fields.keys():
            (folder / "settings.toml").write_text(block.text)
            load_config(folder / "settings.toml")
    else:
        found = yaml.safe_load(block.text)
        if isinstance(found, list) and "prompt" in found[0]:
            (folder / "some.yaml").write_text(block.text)
            read_own(folder / "some.yaml")


def mentions(file: Path) -> list[str]:
    """Return the commands in the sentences and tables of a file: code between single backquotes."""
    bare = _FENCE.sub("", file.read_text())
    spans = re.findall(r"`([^`\n]+)`", bare)
    return [span for span in spans if re.match(r"(\S*python\S* )?run\.py |make [a-z]|\S*python -m ", span)]


def has_command(text: str) -> bool:
    """Tell whether a text has a line that looks like a command."""
    return any(_COMMAND.match(line) for line in text.splitlines())
