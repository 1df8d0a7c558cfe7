"""The windows on the history: Datasette, with views and questions made for people. Needs the extra `ui`."""

from __future__ import annotations

from importlib.util import find_spec

from policies.errors import ConfigError

__all__ = ["require_datasette"]

_NEEDED = ("datasette", "datasette_dashboards")


def require_datasette() -> None:
    """Raise ConfigError, with the way out, where the extra `ui` is not installed."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"the ui needs {' and '.join(missing)}, not installed here: run `make setup`, or"
            " `pip install -e '.[ui]'` in an environment of your own"
        )
