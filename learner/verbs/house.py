"""What a verb works on: the state folder, its store, and the base model that both belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from learner.verbs.printing import say
from policies.config import Config
from policies.errors import InputError
from store import orders, state, versions
from store.database import Store, open_existing, open_read_only
from store.home import VERSIONS, home_of
from store.settings import load_config
from store.versions import Version

if TYPE_CHECKING:
    from learner.archive import Archive
    from learner.steering.file import Steering
    from learner.vectors.library import Library


@dataclass(frozen=True)
class House:
    """One HEEDLOOP_HOME that was used before. Raises InputError, where it was not, at the first need."""

    config: Config
    home: Path
    store: Store

    @cached_property
    def serving(self) -> dict[str, str]:
        """What `up` wrote down of the server."""
        found: dict[str, str] | None = state.get(self.store, "serving")
        if found is None:
            raise InputError(f"{self.home} knows no base model yet: start the system once with `run.py up`")
        return found

    @property
    def model_dir(self) -> Path:
        """The folder of the base model."""
        return Path(self.serving["model_dir"])

    @property
    def model_hash(self) -> str:
        """The hash that vectors are bound to."""
        return self.serving["model_hash"]

    @property
    def library(self) -> Library:
        """The vectors of this home."""
        from learner.vectors.library import Library

        return Library(self.home, self.model_hash)

    @property
    def archive(self) -> Archive:
        """The files of versions."""
        from learner.archive import Archive

        return Archive(self.home / VERSIONS, self.model_dir, self.model_hash)

    @property
    def steering(self) -> Steering:
        """The steering vectors of this home."""
        from learner.steering.file import Steering

        return Steering(self.home, self.model_hash)

    def version(self, name: str | None) -> Version:
        """Return a version by id, start of it, tag or branch; `base`; None is the version in force."""
        from store import branches

        if name is None or name == "live":
            found = versions.in_force(self.store)
            if found is None:
                raise InputError(f"{self.home} has no version yet: start the system once with `run.py up`")
            return found
        if name == "base":
            return versions.path(self.store, self.version(None))[-1]
        branch = branches.get(self.store, name)
        return versions.require(self.store, name if branch is None else branch.version_id)

    def order(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Let the learner do something and wait. Raises Unreachable, GuardRefused."""
        json.dumps(arguments, allow_nan=False)
        return orders.give(self.store, self.home, self.config.bus.agent, name, arguments, say)


@contextmanager
def opened(*, write: bool = False) -> Iterator[House]:
    """Open the state folder of the configuration, to read, or to write orders. It must be there."""
    config = load_config()
    home = home_of(config)
    with open_existing(home) if write else open_read_only(home) as store:
        yield House(config, home, store)
