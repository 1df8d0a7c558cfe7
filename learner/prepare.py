"""`python -m learner.prepare NAME`: make a model ready to be served live; prints its folder and hash as JSON.

Progress goes to stderr; a mistake ends as one line on stdout, for the process that asked.
"""

from __future__ import annotations

import json
import sys

from learner.base_model import model_hash, resolve_model
from policies.errors import HeedloopError


def main() -> int:
    """Resolve, check, print. Returns the exit code."""
    shown = {"line": ""}

    def progress(what: str, share: float) -> None:
        line = f"{what} {share:4.0%}"
        if line != shown["line"]:
            sys.stderr.write(line + "\n")
            shown["line"] = line

    try:
        folder = resolve_model(sys.argv[1], progress)
        print(json.dumps({"path": str(folder), "hash": model_hash(folder)}))
    except HeedloopError as error:
        print(error)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
