"""`python -m agent.ui --home DIR`: the ui as a child of `run.py up`, with what that decided on."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agent.listening import listen
from agent.ui.server import serve
from policies.errors import HeedloopError
from store.decided import decided
from store.logs import configure_logs


def main() -> int:
    """Serve until SIGTERM. Returns the exit code; an error of the user is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m agent.ui", description="the ui process of heedloop")
    parser.add_argument(
        "--home", type=Path, required=True, help="state folder of a system started by `run.py up`"
    )
    home: Path = parser.parse_args().home
    try:
        config = decided(home)
        configure_logs("ui", config.log.level)
        listening = listen(config.ui.host, config.ui.port, "ui")
        asyncio.run(serve(home, listening, config.ui.host, config.labels.train_above))
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
