"""The user's own probes, from a YAML file: a prompt, and what its answer must be (docs/probes.md)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from policies.constraints import read_constraints
from policies.errors import ConfigError


class OwnProbe(BaseModel):
    """A prompt and one of: `check` (a sentence with a checkable rule), `regex`, `answer` (words in it)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: str = Field(min_length=1)
    system: str | None = None
    check: str | None = None
    regex: str | None = None
    answer: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> OwnProbe:
        ways = [name for name in ("check", "regex", "answer") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise ValueError(f"give exactly one of check, regex, answer (here: {', '.join(ways) or 'none'})")
        if self.check is not None and not read_constraints(self.check).constraints:
            raise ValueError(
                f"nothing in the check {self.check!r} can be checked by code: use regex or answer"
            )
        if self.regex is not None:
            try:
                re.compile(self.regex)
            except re.error as error:
                raise ValueError(f"the regex {self.regex!r} is none: {error}") from error
        return self

    @property
    def name(self) -> str:
        """Return what the probe is called in scores."""
        return self.prompt if self.system is None else f"{self.prompt} ({self.system})"

    def passes(self, text: str) -> bool:
        """Tell whether an answer is as it must be."""
        if self.check is not None:
            return all(c.check(text) is not False for c in read_constraints(self.check).constraints)
        if self.regex is not None:
            return re.search(self.regex, text) is not None
        return re.search(rf"(?<!\w){re.escape(self.answer or '')}(?!\w)", text, re.IGNORECASE) is not None


def read_own(path: Path) -> tuple[OwnProbe, ...]:
    """Read a list of probes. Raises ConfigError, naming file and place, for what is not one."""
    try:
        found: Any = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"guard.probes_file {path} cannot be read: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f" line {mark.line + 1}, column {mark.column + 1}:"
        raise ConfigError(f"{path}:{place} no YAML: {getattr(error, 'problem', None) or error}") from error
    if not isinstance(found, list) or not found:
        raise ConfigError(f"{path}: a list of probes is expected, each with `- prompt:` (docs/probes.md)")
    probes = tuple(_probe(path, number, item) for number, item in enumerate(found, start=1))
    first: dict[tuple[str, str | None], int] = {}
    for number, probe in enumerate(probes, start=1):
        same = first.setdefault((probe.prompt, probe.system), number)
        if same != number:
            raise ConfigError(f"{path}: probe {number} asks the same as probe {same}")
    return probes


def _probe(path: Path, number: int, item: Any) -> OwnProbe:
    try:
        return OwnProbe.model_validate(item)
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        said = fault["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: probe {number}{f', {where}' if where else ''}: {said}") from error
