"""`python -m agent [--home DIR]`: the loop process.

With `--home` the configuration is the one that `run.py up` decided on and wrote into the store there.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from agent.loop import run_loop
from policies.config import Config
from policies.errors import HeedloopError
from store import state
from store.database import open_read_only
from store.logs import configure_logs
from store.settings import load_config


def main() -> int:
    """Run the loop until SIGTERM. Returns the exit code; an error of the user is one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m agent", description="the loop process of heedloop")
    parser.add_argument("--home", type=Path, help="state folder of a system started by `run.py up`")
    home: Path | None = parser.parse_args().home
    try:
        config = load_config() if home is None else _decided(home)
        configure_logs("loop", config.log.level)
        asyncio.run(run_loop(config))
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


def _decided(home: Path) -> Config:
    store = open_read_only(home)
    try:
        written = state.get(store, "config")
    finally:
        store.close()
    return load_config(overrides={"home": str(home)}) if written is None else Config.model_validate(written)


if __name__ == "__main__":
    sys.exit(main())
