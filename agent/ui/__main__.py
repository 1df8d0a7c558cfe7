"""`python -m agent.ui --home DIR`: the ui as a child of `run.py up`, with what that decided on."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agent.ui.server import listen, serve
from policies.config import Config
from policies.errors import HeedloopError
from store import state
from store.database import open_read_only
from store.logs import configure_logs


def main() -> int:
    """Serve until SIGTERM. Returns the exit code; an error of the user is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m agent.ui", description="the ui process of heedloop")
    parser.add_argument(
        "--home", type=Path, required=True, help="state folder of a system started by `run.py up`"
    )
    home: Path = parser.parse_args().home
    try:
        config = _decided(home)
        configure_logs("ui", config.log.level)
        listening = listen(config.ui.host, config.ui.port)
        asyncio.run(serve(home, listening, config.ui.host, config.labels.train_above))
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _decided(home: Path) -> Config:
    store = open_read_only(home)
    try:
        return Config.model_validate(state.get(store, "config", {}))
    finally:
        store.close()


if __name__ == "__main__":
    sys.exit(main())
