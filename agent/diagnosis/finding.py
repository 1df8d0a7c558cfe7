"""One line of the doctor's report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "missing", "failed"]


@dataclass(frozen=True)
class Finding:
    """`missing` keeps heedloop from running, `warn` makes it slower or less safe, `failed` is a failed proof.

    `advice` says what to do.
    """

    name: str
    verdict: Verdict
    detail: str
    advice: str = ""


def ok(name: str, detail: str) -> Finding:
    """All is well."""
    return Finding(name, "ok", detail)


def warn(name: str, detail: str, advice: str) -> Finding:
    """It runs, but."""
    return Finding(name, "warn", detail, advice)


def missing(name: str, detail: str, advice: str) -> Finding:
    """It cannot run."""
    return Finding(name, "missing", detail, advice)
