"""`run.py ui`: the history in a browser."""

from __future__ import annotations

import asyncio
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from agent.ui import require_datasette
from policies.config import Config, UiConfig
from store import state
from store.database import open_read_only
from store.home import home_of
from store.printing import print_json
from store.settings import load_config

commands = typer.Typer(invoke_without_command=True, help="Look at the history in a browser; ctrl-c ends it.")


@commands.callback()
def show_window(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0 takes a free one")] = None,
    show: Annotated[bool, typer.Option("--open", help="open it in the browser of this machine")] = False,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Print the address of the history, and serve it unless `run.py up` does so already (`ui.enabled`)."""
    require_datasette()
    config = load_config(overrides={} if port is None else {"ui.port": port})
    home = home_of(config)
    running = _running(home) if port is None else None
    if running is not None:
        _tell(home, running, "run.py up serves it", show=show, json=json)
    else:
        _serve(config, home, show=show, json=json)


def _running(home: Path) -> UiConfig | None:
    """Return where `run.py up` serves the ui of a state folder, None where it does not."""
    with open_read_only(home) as store:
        row = store.row("SELECT 1 FROM processes WHERE name = 'ui' AND state = 'ready'")
        return None if row is None else Config.model_validate(state.get(store, "config")).ui


def _serve(config: Config, home: Path, *, show: bool, json: bool) -> None:
    from agent.listening import listen
    from agent.ui.server import serve

    listening = listen(config.ui.host, config.ui.port, "ui")
    at = config.ui.model_copy(update={"port": listening.getsockname()[1]})
    _tell(home, at, "ctrl-c ends it", show=show, json=json)
    asyncio.run(serve(home, listening, config.ui.host, config.labels.train_above))


def _tell(home: Path, at: UiConfig, remark: str, *, show: bool, json: bool) -> None:
    from agent.ui.door import address

    url = address(home, at.host, at.port)
    if json:
        print_json({"url": url, "pid": os.getpid(), "home": str(home)})
    else:
        print(url, flush=True)
        print(
            f"the history of {home}; {remark}; the address has a token: keep it to yourself", file=sys.stderr
        )
    if show:
        webbrowser.open(url)
