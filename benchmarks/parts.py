"""Parts of a long measurement, kept in a file, so that an interrupted run goes on where it was."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from policies.errors import ConfigError

_MADE_ON = "made on"


class Parts:
    """What was measured already, in a file that is written after each part.

    `made_on` are the texts and the sizes that it is measured on. Raises ConfigError where the file's were
    others.
    """

    def __init__(self, path: Path, made_on: Iterable[str | int | float]) -> None:
        self._path = path
        digest = hashlib.blake2b(json.dumps(list(made_on)).encode(), digest_size=8).hexdigest()
        self._known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {_MADE_ON: digest}
        if self._known.get(_MADE_ON) != digest:
            raise ConfigError(f"{path}: measured on other texts or sizes: name another --folder")

    def get(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a part, measured now if need be."""
        if name not in self._known:
            began = time.monotonic()
            self._known[name] = measure()
            self._path.write_text(json.dumps(self._known, indent=1))
            sys.stderr.write(f"{name}: {self._known[name]} ({time.monotonic() - began:.0f} s)\n")
        return dict(self._known[name])
