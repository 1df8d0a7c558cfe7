"""Where each setting comes from: flags, then environment, then files, then defaults.

The models are in `policies.config`. A key that nobody knows is an error that names its place and the nearest
known key: a typo must not be silence.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, PrivateAttr, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from policies.config import Config
from policies.errors import ConfigError
from store.home import home_of

__all__ = ["as_environment", "flatten", "home_of", "known_keys", "load_config", "origins"]

FILE_NAME = "heedloop.toml"
PREFIX = "HEEDLOOP_"
DEFAULT = "default"
OVERRIDE = "command line"

Values = dict[str, Any]


class _Layer(NamedTuple):
    """One source of settings; later layers win."""

    name: str
    values: Values

    def place(self, key: str) -> str:
        """Name where `key` was set: a file, a flag or the very environment variable."""
        if self.name != PREFIX:
            return self.name
        variable = _variable(key)
        return variable if variable in os.environ else variable.partition("__")[0]  # a section as JSON


class _Environment(BaseSettings, Config):
    """The shape that pydantic-settings reads from HEEDLOOP_*."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", env_ignore_empty=True, env_parse_none_str="null"
    )


class _LoadedConfig(Config):
    """A configuration that remembers its layers."""

    _layers: tuple[_Layer, ...] = PrivateAttr(())


def load_config(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Config:
    """Read the configuration: overrides > HEEDLOOP_* > ./heedloop.toml > the user's file > defaults.

    `file` stands for both files. `overrides` may be nested or dotted: {"training.seed": 3}.
    Raises ConfigError: one line that names the key and its place.
    """
    files = [file] if file is not None else [path for path in _default_files() if path.is_file()]
    layers = [_Layer(str(path), _read_toml(path)) for path in files]
    layers.append(_Layer(PREFIX, _read_environment()))
    layers.append(_Layer(OVERRIDE, _nested(overrides or {})))
    merged: Values = {}
    for layer in layers:
        merged = _merge(merged, layer.values)
    try:
        config = _LoadedConfig.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_explain(error, layers)) from None
    config._layers = tuple(layers)
    return config


def origins(config: Config) -> dict[str, str]:
    """Return the place that set each dotted key: a file, a variable, the command line or `default`."""
    found = dict.fromkeys(flatten(config.model_dump()), DEFAULT)
    for layer in config._layers if isinstance(config, _LoadedConfig) else ():
        found.update({key: layer.place(key) for key in flatten(layer.values) if key in found})
    return found


def as_environment(config: Config) -> dict[str, str]:
    """Return the variables that make a child process load exactly this configuration."""
    values = flatten(config.model_dump(mode="json")) | {"home": str(home_of(config))}
    return {_variable(key): _as_text(value) for key, value in values.items()}


def known_keys() -> list[str]:
    """Return every key, dotted, in the order of the models."""
    return list(flatten(Config().model_dump()))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Values:
    """Turn nested sections into dotted keys."""
    flat: Values = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _default_files() -> Iterator[Path]:
    folder = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    yield Path(folder).expanduser() / "heedloop" / FILE_NAME
    yield Path(FILE_NAME)


def _read_toml(path: Path) -> Values:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None


def _read_environment() -> Values:
    _refuse_unknown_variables()
    try:
        return EnvSettingsSource(_Environment)()
    except SettingsError as error:
        field = re.search(r'field "(\w+)"', str(error))
        name = _variable(field[1]) if field else PREFIX
        hint = 'a list or a section is written as JSON, like ["a", "b"]'
        raise ConfigError(f"environment: {name}...: {hint} ({error.__cause__})") from None


def _refuse_unknown_variables() -> None:
    known = [_variable(key) for key in known_keys()]
    for name in os.environ:
        section, nested, _ = name.upper().partition("__")
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if not nested and section.removeprefix(PREFIX).lower() in Config.model_fields:
            continue  # a whole section as JSON: pydantic looks into it
        near = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.6 if nested else 0.85)
        if nested or near:  # HEEDLOOP_DATA and the like are not settings, and none of our business
            raise ConfigError(f"environment: {name} is not a setting{_suggest(near)}")


def _explain(error: ValidationError, layers: list[_Layer]) -> str:
    """Say the first mistake in one line: place, key, what is wrong, what to write instead."""
    first, *others = error.errors(include_url=False)
    key = ".".join(str(part) for part in first["loc"] if isinstance(part, str))
    place = next((layer.place(key) for layer in reversed(layers) if _sets(layer, key)), OVERRIDE)
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, known_keys() if "." in key else Config.model_fields, n=1)
        line = f"{place}: {key} is not a setting{_suggest(near)}"
    else:
        line = f"{place}: {key} = {first['input']!r} cannot be used: {first['msg']}"
    return line + (f" (and {len(others)} more)" if others else "")


def _sets(layer: _Layer, key: str) -> bool:
    found: Any = layer.values
    for part in key.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return False
        found = found[part]
    return True


def _suggest(near: list[str]) -> str:
    return f"; did you mean {near[0]}?" if near else " (`run.py config show` lists them all)"


def _merge(below: Values, above: Mapping[str, Any]) -> Values:
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, Mapping) else value
    return merged


def _nested(overrides: Mapping[str, Any]) -> Values:
    values: Values = {}
    for key, value in overrides.items():
        *sections, last = key.split(".")
        leaf = value.model_dump() if isinstance(value, BaseModel) else value
        branch: Values = {last: leaf}
        for section in reversed(sections):
            branch = {section: branch}
        values = _merge(values, branch)
    return values


def _variable(key: str) -> str:
    return PREFIX + key.upper().replace(".", "__")


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    return value if isinstance(value, str) else json.dumps(value)
