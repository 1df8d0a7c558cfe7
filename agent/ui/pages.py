"""Datasette's plugin: how cells look, and what stands beside the rows on a page."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from datasette import Response
from datasette.database import QueryInterrupted
from datasette.utils import urlsafe_components
from datasette.utils.asgi import Base400
from datasette.views.base import DatasetteError
from pluggy import HookimplMarker

from agent.ui.cells import cell
from agent.ui.history import KEYS, NAME

_FRONT = {
    "counts": """
        SELECT (SELECT count(*) FROM digest.points) AS decisions,
          (SELECT count(*) FROM digest.points WHERE verdict = 'followed') AS followed,
          (SELECT count(*) FROM digest.points WHERE verdict = 'ignored') AS ignored,
          (SELECT count(*) FROM main.corrections) AS corrections,
          (SELECT count(*) FROM main.steps WHERE state = 'confirmed') AS steps,
          (SELECT count(*) FROM main.versions WHERE kind = 'train') AS versions,
          (SELECT count(*) FROM main.versions WHERE kind = 'rollback') AS rollbacks,
          (SELECT count(*) FROM main.reviews WHERE verdict IS NULL)
            + (SELECT count(*) FROM main.quarantine WHERE verdict IS NULL) AS waiting,
          (SELECT max(rowid) FROM main.decisions) AS newest,
          (SELECT value FROM digest.marks WHERE name = 'decisions') AS digested""",
    "live": 'SELECT id AS version, kind, "when", probes_said FROM versions ORDER BY number DESC LIMIT 1',
    "learned": """
        SELECT v.id AS version, v."when", c.direction, s.id AS direction_id,
          count(DISTINCT c.id) AS corrections, count(DISTINCT r.step_id) AS steps,
          v.probes_said
        FROM (SELECT * FROM versions WHERE kind = 'train' ORDER BY number DESC LIMIT 6) v
        JOIN main.step_rows r ON r.step_id BETWEEN v.first_step AND v.last_step AND r.kind = 'correction'
        JOIN main.examples x ON x.id = r.example_id
        JOIN main.examples c ON c.id = ifnull(x.parent, x.id)
        LEFT JOIN digest.sentences s ON s.text = c.direction
        GROUP BY v.id, c.direction ORDER BY v.number DESC, corrections DESC LIMIT 10""",
    "heeded": """
        SELECT id AS decision, direction, direction_id, answer, label, confidence, said_by
        FROM decisions WHERE label != 'unknown' ORDER BY number DESC LIMIT 8""",
}
"""What the front page shows."""

Row = dict[str, Any]

log = structlog.get_logger()
hookimpl = HookimplMarker("datasette")  # what datasette.hookimpl is; this one has types


@hookimpl
def render_cell(row: Any, value: Any, column: str, table: str | None, database: str) -> Any:
    """Show a value of the history in its own form."""
    if database != NAME:
        return None
    leads = column == "direction" and "direction_id" in row.keys()  # noqa: SIM118  # sqlite3.Row
    return cell(column, value, row["direction_id"] if leads else None)


@hookimpl
def extra_template_vars(
    datasette: Any, database: str | None, table: str | None, view_name: str, request: Any
) -> Callable[[], Awaitable[Row]]:
    """Give the templates what they need beside Datasette's own."""

    async def variables() -> Row:
        base = {
            "cell": cell,
            "views": KEYS,
            "queries": await _queries(datasette),
            "view_of": _view_of(datasette),
        }
        if view_name == "index":
            return (
                base
                | {name: await _rows(datasette, sql) for name, sql in _FRONT.items()}
                | {"charts": json.dumps(_charts(datasette))}
            )
        if view_name == "row" and table is not None:
            return base | await _page_of_row(datasette, table, request)
        return base

    return variables


@hookimpl
def handle_exception(datasette: Any, request: Any, exception: Exception) -> Callable[[], Awaitable[Any]]:
    """Answer what went wrong. Datasette's own handler prints all local variables, the token among them."""

    async def answer() -> Any:
        if isinstance(exception, QueryInterrupted):
            status, message = 503, "this took longer than the ui lets a question take; ask for less"
        elif isinstance(exception, Base400 | DatasetteError):
            status, message = exception.status, str(getattr(exception, "message", exception))
        else:
            trace = "".join(traceback.format_exception(exception))  # without the values of variables
            log.error("a page failed", path=request.path, trace=trace)
            status, message = 500, str(exception)
        if request.path.endswith(".json"):
            return Response.json({"ok": False, "error": message, "status": status}, status=status)
        template = datasette.jinja_env.get_template("error.html")
        words = {
            "status": status,
            "error": message,
            "urls": datasette.urls,
            "app_css_hash": datasette.app_css_hash(),
        }
        return Response.html(await template.render_async(words), status=status)

    return answer


async def _page_of_row(datasette: Any, table: str, request: Any) -> Row:
    """Return a row and its sections: those that have something in them."""
    keys = KEYS[table]
    values = urlsafe_components(request.url_vars["pks"])
    where = " AND ".join(f"{key} = :{key}" for key in keys)
    found = await _rows(
        datasette, f"SELECT * FROM {table} WHERE {where}", dict(zip(keys, values, strict=True))
    )
    if not found:
        return {"row": {}, "sections": []}
    sections = []
    for section in datasette.table_metadata(NAME, table).get("sections", ()):
        rows = await _rows(datasette, section["sql"], found[0])
        if rows:
            sections.append({"title": section["title"], "rows": rows})
    return {"row": found[0], "sections": sections}


async def _rows(datasette: Any, sql: str, parameters: Row | None = None) -> list[Row]:
    results = await datasette.get_database(NAME).execute(sql, parameters or {})
    return [dict(row) for row in results.rows]


async def _queries(datasette: Any) -> list[Row]:
    return list((await datasette.get_canned_queries(NAME, None)).values())


def _view_of(datasette: Any) -> Callable[[str], Row]:
    return lambda table: datasette.table_metadata(NAME, table)


def _charts(datasette: Any) -> Row:
    charts = (datasette.plugin_config("datasette-dashboards") or {})["overview"]["charts"]
    return {name: charts[name] for name in ("follow", "loss")}
