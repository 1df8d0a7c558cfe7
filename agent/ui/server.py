"""The ui as a process: Datasette behind the door, and beside it the digest that follows the store."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sqlite3
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import structlog
import uvicorn
import yaml
from datasette.app import Datasette
from datasette.plugins import pm
from starlette.types import ASGIApp

from agent.ui import pages
from agent.ui.digest import Digest
from agent.ui.door import Door, ui_token
from agent.ui.history import NAME, History
from store.database import open_read_only

log = structlog.get_logger()

_SETTINGS = {
    "allow_download": False,
    "cache_size_kb": 16_384,
    "default_cache_ttl": 0,
    "default_page_size": 50,
    "facet_time_limit_ms": 100,
    "sql_time_limit_ms": 2000,
    "suggest_facets": False,
}
_LOOK_S = 1.0
"""How often the store is asked whether it has changed."""


def make_datasette(home: Path) -> Datasette:
    """Build Datasette on the store under `home`. The digest must be there."""
    folder = Path(str(files(__package__)))
    metadata = yaml.safe_load((folder / "metadata.yaml").read_text())
    metadata["plugins"] = {"datasette-dashboards": yaml.safe_load((folder / "dashboards.yaml").read_text())}
    datasette = Datasette(
        files=[],
        metadata=metadata,
        settings=_SETTINGS,
        template_dir=str(folder / "templates"),
        static_mounts=[("look", str(folder / "static"))],
    )
    datasette.remove_database("_memory")
    datasette.add_database(History(datasette, home), name=NAME)
    if not pm.is_registered(pages):
        pm.register(pages)
        pm.unregister(name="datasette.handle_exception")
    return datasette


async def serve(home: Path, listening: socket.socket, host: str, sure: float) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError where there is no store yet.

    `sure` is the confidence from which a label is not doubtful.
    """
    open_read_only(home).close()
    async with _following(Digest(home, sure)):
        app: ASGIApp = Door(make_datasette(home).app(), ui_token(home), {host})
        config = uvicorn.Config(app, lifespan="on", log_level="warning", access_log=False, ws="none")
        await uvicorn.Server(config).serve([listening])


@contextlib.asynccontextmanager
async def _following(digest: Digest) -> AsyncIterator[None]:
    """Keep a digest up to date for the time of the block."""
    task = asyncio.create_task(_follow(digest), name="digest")
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        digest.close()


async def _follow(digest: Digest) -> None:
    while True:
        try:
            more = await asyncio.to_thread(digest.refresh)
        except (
            sqlite3.OperationalError
        ) as error:  # the disk is full, or somebody holds the digest: again later
            log.warning("the digest could not be brought up to date", why=str(error))
            more = False
        await asyncio.sleep(0 if more else _LOOK_S)
