"""`python -m learner.live.fingerprint ARENA`: prints the hash of the live weights, from a process of its
own.
"""

from __future__ import annotations

import sys
from pathlib import Path

from learner.live.client import LiveWeights
from policies.errors import HeedloopError


def main(arguments: list[str]) -> int:
    """Print the fingerprint of the arena that is the one argument. Returns the exit code."""
    if len(arguments) != 1:
        print("usage: python -m learner.live.fingerprint ARENA", file=sys.stderr)
        return 2
    try:
        print(LiveWeights.attach(Path(arguments[0]), exclusive=False).fingerprint())
    except HeedloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
