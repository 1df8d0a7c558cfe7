"""`run.py up`: get the model, choose ports, write down what the children need, and supervise them."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import os
import re
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import httpx
import structlog

from agent import supervisor
from agent.address import Certificates
from agent.bus import require_broker
from agent.child import ChildSpec
from agent.cores import physical_cores
from agent.credentials import AGENT, broker_url
from agent.ui import require_datasette
from policies.config import BusConfig, Config, ServerConfig
from policies.errors import ConfigError, HeedloopError, Unreachable
from policies.messages import CommandPayload
from policies.pacing import spare_cpus
from policies.urls import base_url
from store import commands, state
from store.clock import new_id
from store.database import Store, open_store
from store.home import ANSWERS, LOGS, VERSIONS, home_of, make_home
from store.processes import record_process
from store.settings import as_environment

log = structlog.get_logger()

HEALTH_TIMEOUT_S = 2.0
DISCARD_PATIENCE_S = 10.0


class ModelServer(Protocol):
    """How a vLLM server with live weights is started; `learner.serving`, handed in by the command line."""

    def served_name(self, config: ServerConfig) -> str:
        """Return the model name that clients use."""

    def server_command(
        self,
        config: ServerConfig,
        model_dir: Path,
        arena: Path,
        versions: Path,
        port: int,
        answers: Path | None = None,
    ) -> tuple[list[str], dict[str, str]]:
        """Return command line and environment; the server records its answers in the folder `answers`."""

    def discard(self, folder: Path, patience: float = 0.0) -> None:
        """Free the arena of a server that has ended."""


async def run_up(config: Config, server: ModelServer, branch: str | None = None) -> int:
    """Run the whole system until SIGTERM; returns the exit code. Raises the error of what cannot start.

    `branch` is checked out before anything is learned; a new one starts at the base model.
    """
    os.umask(0o077)  # of all children, too: nobody else reads logs, versions or answers
    home = make_home(home_of(config))
    with only_one(home):
        await _require_what_is_named(config)
        model = await resolve_model(config.server.model)
        config = _with_ports(config, home)
        store = open_store(home)
        serving = _serving(config, home, model, server.served_name(config.server))
        url = config.bus.url or broker_url(home, config.bus.port)
        _write_down(store, config, serving, url)
        if branch is not None:
            _order_checkout(store, config, branch)
        _tell_agents(store, config.bus, home)
        specs = _specs(config, home, store, serving, server)
        watched = supervisor.Supervisor(specs, store, home / LOGS)
        if config.server.url is not None:
            record_process(store, "vllm", "ready", None, detail=f"yours, at {config.server.url}")
        within = config.server.start_timeout_s
        try:
            return await supervisor.run(watched, _ready(serving, home), ready_within_s=within)
        finally:
            store.close()
            if config.server.url is None:
                await asyncio.to_thread(server.discard, Path(serving["arena"]), DISCARD_PATIENCE_S)


async def resolve_model(name: str) -> dict[str, str]:
    """Return folder and hash of the model; a process of its own converts or fetches it, with progress."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "learner.prepare", name, stdout=asyncio.subprocess.PIPE, env=_environment()
    )
    assert process.stdout is not None
    lines = (await process.stdout.read()).decode().strip().splitlines()
    code = await process.wait()
    if code != 0:
        kinds: dict[int, type[HeedloopError]] = {2: ConfigError, 69: Unreachable}
        reason = lines[-1] if lines else f"the model {name!r} could not be prepared (exit code {code})"
        raise kinds.get(code, HeedloopError)(reason)
    model: dict[str, str] = json.loads(lines[-1])
    return model


def _with_ports(config: Config, home: Path) -> Config:
    """Return the configuration with every port and the arena decided. Raises ConfigError for a taken port."""
    server, bus, http, ui = config.server, config.bus, config.http, config.ui
    arena = server.arena or Path("/dev/shm") / f"heedloop-{_short_hash(str(home))}"
    if server.url is None:
        server = server.model_copy(update={"port": _port(server.host, server.port, "server.port")})
    if bus.url is None:
        bus = bus.model_copy(update={"port": _port("127.0.0.1", bus.port, "bus.port")})
    http = http.model_copy(update={"port": _port(http.host, http.port, "http.port")})
    if ui.enabled:
        ui = ui.model_copy(update={"port": _port(ui.host, ui.port, "ui.port")})
    server = server.model_copy(update={"arena": arena})
    return config.model_copy(update={"home": home, "server": server, "bus": bus, "http": http, "ui": ui})


def _port(host: str, wanted: int, key: str) -> int:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, wanted))
        except OSError as error:
            raise ConfigError(
                f"{key}: {host}:{wanted} cannot be used ({error.strerror}); set another"
            ) from None
        return int(probe.getsockname()[1])


def _serving(config: Config, home: Path, model: dict[str, str], name: str) -> dict[str, str]:
    """Return what learner and clients need to know of the server."""
    return {
        "url": config.server.url or base_url(config.server.host, config.server.port),
        "model_name": name,
        "model_dir": model["path"],
        "model_hash": model["hash"],
        "arena": str(config.server.arena),
    }


def _write_down(store: Store, config: Config, serving: dict[str, str], bus_url: str) -> None:
    """Tell the children, through the store. A store belongs to one base model for good."""
    trained = state.get(store, "serving")
    if trained is not None and trained["model_hash"] != serving["model_hash"]:
        raise ConfigError(
            f"this HEEDLOOP_HOME was trained on {trained['model_dir']}, not on {serving['model_dir']}:"
            " use another HEEDLOOP_HOME for another model"
        )
    with store.write() as connection:
        state.put(connection, "config", config.model_dump(mode="json"))
        state.put(connection, "serving", serving)
        state.put(connection, "server_url", serving["url"])
        state.put(connection, "broker_url", bus_url)
        state.put(connection, "learner", {"pid": None, "ready": False})


def _tell_agents(store: Store, bus: BusConfig, home: Path) -> None:
    """Write down how agents reach the embedded broker: as those who give no commands."""
    url = None if bus.url is not None else broker_url(home, bus.port, AGENT)
    with store.write() as connection:
        state.put(connection, "agents_broker_url", url)


def _order_checkout(store: Store, config: Config, branch: str) -> None:
    """Leave the learner its first command. Raises ConfigError for what cannot name a branch."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]{0,63}", branch):
        raise ConfigError(f"--branch {branch!r}: a letter, then at most 63 letters, digits, `_` or `.`")
    arguments = {"to": branch, "create": True}
    command = CommandPayload(event_id=new_id(), command="check_out", args=arguments)
    with store.write() as connection:
        commands.insert(connection, config.bus.agent, command)


def _specs(
    config: Config, home: Path, store: Store, serving: dict[str, str], server: ModelServer
) -> list[ChildSpec]:
    """Return the children, in the order of their start; they are drained from the last to the first."""
    environment = {**_environment(), **as_environment(config)}
    cores = physical_cores()
    spare = spare_cpus(cores, config.server.threads, config.training.threads)
    python = (sys.executable, "-m")
    specs = []
    if config.bus.url is None:
        arguments = ("agent.broker", "--home", str(home), "--port", str(config.bus.port))
        specs.append(
            ChildSpec("broker", (*python, *arguments), environment, _accepts("127.0.0.1", config.bus.port))
        )
    if config.server.url is None:
        argv, server_environment = server.server_command(
            config.server,
            Path(serving["model_dir"]),
            Path(serving["arena"]),
            home / VERSIONS,
            config.server.port,
            home / ANSWERS,
        )
        specs.append(
            ChildSpec(
                "vllm",
                tuple(argv),
                server_environment,
                _is_healthy(serving["url"]),
                ready_within_s=config.server.start_timeout_s,
                cpus=frozenset(cpu for core in cores for cpu in core) - spare if spare else frozenset(),
            )
        )
    loop = ChildSpec("loop", (*python, "agent"), environment, _accepts(config.http.host, config.http.port))
    learner = ChildSpec(
        "learner",
        (*python, "learner"),
        {**environment, "OMP_NUM_THREADS": str(config.training.threads)},
        _learner_is_ready(store),
        ready_within_s=2 * config.server.start_timeout_s,  # it waits for the server first
        nice=config.training.nice,
        cpus=spare,
        stop_within_s=30.0,
    )
    return [*specs, loop, learner, *_ui(config, home, environment)]


def _ui(config: Config, home: Path, environment: dict[str, str]) -> list[ChildSpec]:
    """Return the child that shows the history, where one is wanted."""
    if not config.ui.enabled:
        return []
    argv = (sys.executable, "-m", "agent.ui", "--home", str(home))
    ready = _accepts(config.ui.host, config.ui.port)
    return [ChildSpec("ui", argv, environment, ready, nice=config.training.nice)]


def _accepts(host: str, port: int) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            _, writer = await asyncio.open_connection(host, port)
        except OSError:
            return False
        writer.close()
        return True

    return ready


def _is_healthy(url: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(timeout=HEALTH_TIMEOUT_S, trust_env=False) as http:
                return (await http.get(f"{url}/health")).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def _learner_is_ready(store: Store) -> Callable[[], Awaitable[bool]]:
    """The learner says ready once it has proven that the weights are live; its word is for its own pid."""

    async def ready() -> bool:
        said = state.get(store, "learner", {})
        row = store.row("SELECT pid FROM processes WHERE name = 'learner'")
        return bool(said.get("ready")) and row is not None and said["pid"] == row["pid"]

    return ready


async def _require_what_is_named(config: Config) -> None:
    """See that the user's own broker and server are there. Raises Unreachable; ConfigError for a bad URL."""
    if config.bus.url is not None:
        bus = config.bus
        await require_broker(config.bus.url, Certificates(bus.ca_file, bus.certificate, bus.key))
    if config.ui.enabled:
        require_datasette()
    url = config.server.url
    if url is not None and config.server.arena is None:
        raise ConfigError("server.url is set: set server.arena to the arena folder of that server, too")
    if url is not None and not await _is_healthy(url)():
        raise Unreachable(f"server.url = {url}: no vLLM server answers there; start it first")


def _ready(serving: dict[str, str], home: Path) -> Callable[[], Awaitable[None]]:
    async def tell() -> None:
        log.info("ready", openai_api=f"{serving['url']}/v1", model=serving["model_name"], home=str(home))

    return tell


@contextmanager
def only_one(home: Path) -> Iterator[None]:
    """Hold the lock of a state folder. Raises ConfigError when another `up` has it."""
    descriptor = os.open(home / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, home)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(f"{home} is in use by another `run.py up`; stop it, or set HEEDLOOP_HOME") from None


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}


def _short_hash(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
