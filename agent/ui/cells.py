"""How one value is shown: a link where a column is called as one thing of a view, else by what it is."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from datasette.utils import tilde_encode
from markupsafe import Markup, escape

from agent.ui.history import NAME

LINKS = {
    "decision": "decisions",
    "example": "examples",
    "step": "steps",
    "version": "versions",
    "parent": "versions",
    "probe": "probes",
    "correction": "corrections",
    "turn": "turns",
    "rollback": "rollbacks",
    "review": "reviews",
    "entry": "quarantine",
}
"""A column of this name holds the id of a row of that view."""
_TAGS = frozenset(
    {"label", "verdict", "state", "step_state", "vote", "kind", "role", "probes_said", "scope", "what"}
)
_SHARES = frozenset({"confidence", "follow_rate", "first_rate", "worst_rate"})
_SHORT = 220
_TITLE = 1000
_ULID = 26
_TAIL = 6
_NONE = Markup('<span class="none">-</span>')


def cell(column: str, value: Any, direction_id: str | None = None, *, whole: bool = False) -> Markup | None:
    """Return a value as HTML, None where it has no form of its own. `whole`: texts are not cut.

    `direction_id` is where a direction's words lead.
    """
    if value is None:
        return _NONE
    if column in LINKS:
        return _link(LINKS[column], value)
    if column == "conversation":
        query = escape(urlencode({"conversation": value}))
        return _html(f'<a href="/{NAME}/turns?{query}" title="{escape(value)}">{escape(short(value))}</a>')
    if column == "direction" and direction_id:
        return _html(f'<a href="/{NAME}/directions/{tilde_encode(direction_id)}">{_text(value, whole)}</a>')
    if column in _TAGS:
        said = escape(value)
        return _html(f'<span class="tag tag-{said}">{said.replace("_", " ")}</span>')
    if column in _SHARES:
        bar = f'<span class="share of-{column}"><i style="width:{100 * value:.0f}%"></i></span>'
        return _html(f"{bar} {value:.2f}")
    if column == "bytes":
        return _html(f"{value / 1e6:.1f} MB")
    if isinstance(value, float):
        return _html(f"{value:.4g}")
    return _html(_text(value, whole)) if isinstance(value, str) else None


def short(value: object) -> str:
    """Return an id as people compare them: of a ULID, its end."""
    text = str(value)
    if len(text) <= _ULID // 2:
        return text
    return f"…{text[-_TAIL:]}" if len(text) == _ULID else f"{text[:_TAIL]}…{text[-_TAIL:]}"


def _link(view: str, value: object) -> Markup:
    place, whole = tilde_encode(str(value)), escape(value)
    return _html(f'<a class="id" href="/{NAME}/{view}/{place}" title="{whole}">{escape(short(value))}</a>')


def _text(value: str, whole: bool) -> str:
    if whole or len(value) <= _SHORT:
        return f'<span class="text">{escape(value)}</span>'
    return f'<span class="text" title="{escape(value[:_TITLE])}">{escape(value[:_SHORT])}…</span>'


def _html(made: str) -> Markup:
    """Say that a text is HTML: all that was said in it is escaped already."""
    return Markup(made)
