"""`python -m learner`: the learner process, with the configuration of the environment."""

from __future__ import annotations

import sys

from learner.allocator import keep_few_kernels
from policies.errors import HeedloopError
from store.logs import configure_logs
from store.settings import load_config


def main() -> int:
    """Learn until SIGTERM. Returns the exit code; a mistake of the user's is one line on stderr."""
    try:
        config = load_config()
        configure_logs("learner", config.log.level)
        keep_few_kernels()
        from learner.process import run  # heavy: torch and transformers

        run(config)
    except HeedloopError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
