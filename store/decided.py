"""What `run.py up` decided on, ports and all: the configuration that its children run with."""

from __future__ import annotations

from pathlib import Path

from policies.config import Config
from store import state
from store.database import open_read_only
from store.settings import load_config


def decided(home: Path) -> Config:
    """Return what `up` wrote down in a state folder; without that, what files and environment say."""
    store = open_read_only(home)
    try:
        written = state.get(store, "config")
    finally:
        store.close()
    return load_config(overrides={"home": str(home)}) if written is None else Config.model_validate(written)
