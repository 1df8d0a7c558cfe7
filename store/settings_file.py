"""The commented example of a configuration file: `python -m store.settings_file > heedloop.example.toml`."""

from __future__ import annotations

import json
from collections.abc import Iterator

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from policies.config import Config

_HEAD = """\
# heedloop reads ./heedloop.toml over $XDG_CONFIG_HOME/heedloop/heedloop.toml, and needs neither: what stands
# here behind a '#' is the default (or, after "absent:", what happens without it). Every key is a variable
# too: training.seed is HEEDLOOP_TRAINING__SEED, and wins over the files. `run.py config show` says which did.
"""

_EXAMPLES = {
    "home": "/var/lib/heedloop",
    "server.url": "http://127.0.0.1:8000",
    "server.arena": "/dev/shm/heedloop",
    "judge.url": "http://127.0.0.1:8001",
    "bus.url": "mqtt://user:password@127.0.0.1:1883",
    "bus.ca_file": "/etc/heedloop/ca.crt",
    "bus.certificate": "/etc/heedloop/loop.crt",
    "bus.key": "/etc/heedloop/loop.key",
    "training.scale": 1.0,
    "guard.probes_file": "/etc/heedloop/probes.yaml",
}
"""Values for keys that have none by default, which TOML cannot write."""


def render_example() -> str:
    """Return the example file: every key with its default and meaning, commented out."""
    return _HEAD + "\n" + "\n".join(_lines(Config, ""))


def _lines(model: type[BaseModel], prefix: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            summary = (kind.__doc__ or "").strip().splitlines()[0]
            yield f"\n[{name}]  # {summary}"
            yield from _lines(kind, f"{name}.")
        else:
            yield _line(f"{prefix}{name}", name, field)
    if prefix == "":
        yield ""


def _line(key: str, name: str, field: FieldInfo) -> str:
    value = json.dumps(_EXAMPLES[key] if field.default is None else field.default)
    return f"# {name} = {value}" + (f"  # {field.description}" if field.description else "")


if __name__ == "__main__":
    print(render_example(), end="")
