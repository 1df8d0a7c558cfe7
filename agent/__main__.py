"""`python -m agent [--home DIR]`: the loop process.

With `--home` the configuration is the one that `run.py up` decided on and wrote into the store there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agent.loop import run_loop
from policies.errors import HeedloopError
from store.decided import decided
from store.logs import configure_logs
from store.settings import load_config


def main() -> int:
    """Run the loop until SIGTERM. Returns the exit code; an error of the user is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m agent", description="the loop process of heedloop")
    parser.add_argument("--home", type=Path, help="state folder of a system started by `run.py up`")
    home: Path | None = parser.parse_args().home
    try:
        config = load_config() if home is None else decided(home)
        configure_logs("loop", config.log.level)
        asyncio.run(run_loop(config))
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
