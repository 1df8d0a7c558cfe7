"""Answers in a given markup, or without any: markdown, headings, code blocks, tables, CSV, YAML, XML."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from typing import ClassVar
from xml.etree import ElementTree

from policies.constraints.constraint import Constraint, pattern_reader

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)", re.M)
_BLOCK = re.compile(r"^[ \t]*```[\w+-]*[ \t]*\n(?P<code>.*?)\n?[ \t]*```[ \t]*$", re.M | re.S)
_HEADING = re.compile(r"^[ \t]{0,3}#{1,6}[ \t]+(?=\S)", re.M)
_LIST_ITEM = re.compile(r"^[ \t]*[-*+][ \t]+(?=\S)", re.M)
_BOLD = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")
_LINK = re.compile(r"\[([^\]\n]+)\]\([^)\s]+\)")
_CODE = re.compile(r"`([^`\n]+)`")
_TABLE = re.compile(
    r"^[ \t]*\|?[^\n]*\|[^\n]*\n[ \t]*\|?[ \t]*:?-{2,}:?[ \t]*(?:\|[ \t]*:?-{2,}:?[ \t]*)+\|?[ \t]*$", re.M
)


@dataclass(frozen=True)
class NoMarkdown(Constraint):
    """No heading, bold, list mark, link, table or code mark of markdown."""

    kind: ClassVar[str] = "no_markdown"
    group: ClassVar[str] = "markup"
    prohibits: ClassVar[bool] = True
    confidence: ClassVar[float] = 0.93  # some let a hyphen begin a line

    def check(self, text: str) -> bool:
        """Say whether none is there (an empty text says nothing)."""
        marks = (_HEADING, _BOLD, _FENCE, _LINK, _TABLE, _LIST_ITEM, _CODE)
        return bool(text.strip()) and not any(mark.search(text) for mark in marks)

    def edit(self, text: str) -> str:
        """Take the marks away, and keep what they mark."""
        text = _HEADING.sub("", _LIST_ITEM.sub("", _BLOCK.sub(lambda m: m.group("code"), text)))
        return _CODE.sub(r"\1", _LINK.sub(r"\1", _BOLD.sub(r"\2", text)))


@dataclass(frozen=True)
class NoHeadings(Constraint):
    """No markdown heading."""

    kind: ClassVar[str] = "no_headings"
    group: ClassVar[str] = ""
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether none is there (an empty text says nothing)."""
        return bool(text.strip()) and not _HEADING.search(text)

    def edit(self, text: str) -> str:
        """Leave the words of the headings."""
        return _HEADING.sub("", text)


@dataclass(frozen=True)
class NoCodeBlocks(Constraint):
    """No fenced code block."""

    kind: ClassVar[str] = "no_code_blocks"
    group: ClassVar[str] = "code"
    prohibits: ClassVar[bool] = True

    def check(self, text: str) -> bool:
        """Say whether none is there (an empty text says nothing)."""
        return bool(text.strip()) and not _FENCE.search(text)


@dataclass(frozen=True)
class CodeOnly(Constraint):
    """One fenced code block and nothing around it; bare code cannot be told from prose."""

    kind: ClassVar[str] = "code_only"
    group: ClassVar[str] = "code"

    def check(self, text: str) -> bool | None:
        """Say whether nothing stands outside the block; None without any block: it may be bare code."""
        if not text.strip():
            return False
        if not _FENCE.search(text):
            return None
        return not _BLOCK.sub("", text).strip() and len(_BLOCK.findall(text)) == 1

    def edit(self, text: str) -> str | None:
        """Keep the block, where there is one."""
        blocks = list(_BLOCK.finditer(text))
        return blocks[0].group().strip() if len(blocks) == 1 else None


@dataclass(frozen=True)
class Table(Constraint):
    """The answer holds a markdown table."""

    kind: ClassVar[str] = "table"
    group: ClassVar[str] = "table"
    confidence: ClassVar[float] = 0.93

    def check(self, text: str) -> bool:
        """Say whether a header row and its rule are there."""
        return _TABLE.search(text) is not None


@dataclass(frozen=True)
class Csv(Constraint):
    """The whole answer is comma-separated: two rows or more, all of as many fields."""

    kind: ClassVar[str] = "csv"
    group: ClassVar[str] = "shape"
    confidence: ClassVar[float] = 0.9

    def check(self, text: str) -> bool:
        """Read it, in a code fence or bare."""
        rows = [row for row in csv.reader(_inner(text).splitlines()) if row]
        return len(rows) > 1 and len(rows[0]) > 1 and len({len(row) for row in rows}) == 1

    def edit(self, text: str) -> str | None:
        """Keep the only code block."""
        return _only_block(text)


@dataclass(frozen=True)
class Yaml(Constraint):
    """The whole answer looks like YAML: keys, items and comments (the grammar is not parsed)."""

    kind: ClassVar[str] = "yaml"
    group: ClassVar[str] = "shape"
    confidence: ClassVar[float] = 0.9
    _LINE: ClassVar[re.Pattern[str]] = re.compile(
        r"\s*(?:#|---|\.\.\.$|- |-$|(?:\"[^\"]*\"|'[^']*'|[\w./-]+)\s*:(?:\s|$))"
    )

    def check(self, text: str) -> bool | None:
        """Say whether every line is one of them; None where what is not is indented: it may be text."""
        lines = [line for line in _inner(text).splitlines() if line.strip()]
        if not lines or not any(":" in line or line.lstrip().startswith("- ") for line in lines):
            return False
        strange = [line for line in lines if not self._LINE.match(line)]
        if not strange:
            return True
        return None if all(line.startswith((" ", "\t", "}", "]")) for line in strange) else False

    def edit(self, text: str) -> str | None:
        """Keep the only code block."""
        return _only_block(text)


@dataclass(frozen=True)
class Xml(Constraint):
    """The whole answer is well-formed XML."""

    kind: ClassVar[str] = "xml"
    group: ClassVar[str] = "shape"

    def check(self, text: str) -> bool | None:
        """Parse it, in a code fence or bare; None where it defines entities, which are not expanded here."""
        inner = _inner(text)
        if not inner.startswith("<"):
            return False
        if "<!" in inner:
            return None
        try:
            ElementTree.fromstring(inner)
        except ElementTree.ParseError:
            return False
        return True

    def edit(self, text: str) -> str | None:
        """Keep the only code block."""
        return _only_block(text)


def _inner(text: str) -> str:
    """Return what stands in the code fence around the whole text, or the text."""
    fenced = _BLOCK.fullmatch(text.strip())
    return (fenced.group("code") if fenced else text).strip()


def _only_block(text: str) -> str | None:
    blocks = list(_BLOCK.finditer(text))
    return blocks[0].group("code").strip() if len(blocks) == 1 else None


_NOT = (
    r"(?:no|without(?: any| using)*|(?:do not|don't|never) (?:use|include|write|put|add|output|wrap \w+ in|"
    r"format \w+ (?:as|in|with)|format with)"
    r"(?: any| a)?|(?:avoid|skip|omit|drop|refrain from)(?: using| any| all)*)"
)
_AS = (
    r"\b(?:(?:answer|reply|respond|return|output|format|give|provide|present|write|produce|print|show|put|"
    r"summari[sz]e)\b"
    r"(?: (?:me|it|them|this|that|your|the|a|whole|entire|answers?|repl(?:y|ies)|responses?|outputs?|"
    r"results?|data|only|just|everything|always)\b)*"
    r" (?:as|in|in the form of|using|with)(?: only| a| valid| raw| plain| proper| well-formed| the)*|"
    r"(?:answers?|repl(?:y|ies)|responses?|outputs?) (?:must|should|has to|have to|needs to) be(?: in| only|"
    r" valid| a| well-formed)*|"
    r"\b(?:use|output|return) only(?: valid| raw)?|\bonly (?:output|return)(?: valid| raw)?)"
)
_ONLY_CODE = (
    r"\b(?:(?:only|just) (?:return|output|give me|give|show|write|send|provide|reply with|respond with|"
    r"answer with|print) (?:me )?(?:the |a )?(?:single )?code(?: block)?|"
    r"(?:return|output|give me|reply with|respond with|answer with|provide|show me|send) (?:only|"
    r"just) (?:the |a )?(?:single )?code(?: block)?|code(?: block)? only)\b"
    r"(?! (?:that|for|in|of|review|change))"
)

_OTHER_TABLE = re.compile(r"\b(?:latex|html|csv|ascii)\b")

READERS = (
    pattern_reader(
        "markdown",
        (
            (
                rf"\b{_NOT} markdown\b(?: format\w*| syntax| marks?)?(?! (?:tables?|files?|headings?|"
                rf"headers?|links?|lists?))",
                lambda m, s: NoMarkdown(),
            ),
            (
                r"\b(?:plain text (?:only|without|not)|only plain text|(?:use|in|"
                r"as) plain text)\b[^.;]{0,20}\bmarkdown\b",
                lambda m, s: NoMarkdown(),
            ),
        ),
    ),
    pattern_reader(
        "head",
        (
            (
                rf"\b{_NOT} (?:markdown )?(?:headings|headers|section headers|section headings)\b",
                lambda m, s: NoHeadings(),
            ),
        ),
    ),
    pattern_reader(
        "code",
        (
            (rf"\b{_NOT} (?:fenced |markdown )?code ?(?:blocks?|fences?)\b", lambda m, s: NoCodeBlocks()),
            (_ONLY_CODE, lambda m, s: CodeOnly()),
        ),
    ),
    pattern_reader(
        "table",
        (
            (
                rf"{_AS} (?:markdown )?(?:table)(?: format)?\b(?! of contents)",
                lambda m, s: None if _OTHER_TABLE.search(s.text) else Table(),
            ),
        ),
    ),
    pattern_reader("csv", ((rf"{_AS} csv\b(?: format| data| only)?(?! files?)", lambda m, s: Csv()),)),
    pattern_reader("yaml", ((rf"{_AS} yaml\b(?: format| document| only)?(?! files?)", lambda m, s: Yaml()),)),
    pattern_reader(
        "xml", ((rf"{_AS} xml\b(?: format| document| only)?(?! (?:files?|tags?))", lambda m, s: Xml()),)
    ),
)
