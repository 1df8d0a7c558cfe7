"""The supervisor with real, small child processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from agent.child import Backoff, ChildSpec
from agent.childlog import ChildLog
from agent.reaper import Reaper
from agent.supervisor import Supervisor, work
from policies.errors import ConfigError, Unreachable
from store.database import Store, open_store
from store.processes import processes

DEADLINE_S = 20.0
FOREVER = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); open({0!r}, 'w'); time.sleep(600)"
POLITE = """
import signal, sys, time
def stop(*_):
    open({log!r}, "a").write({name!r} + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
open({ready!r}, "w")
time.sleep(600)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(tmp_path / "home")
    yield opened
    opened.close()


def python(name: str, code: str, **options: object) -> ChildSpec:
    return ChildSpec(name, (sys.executable, "-c", textwrap.dedent(code)), **options)  # type: ignore[arg-type]


def exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return path.exists()

    return check


@asynccontextmanager
async def supervised(
    store: Store, tmp_path: Path, *specs: ChildSpec, drain_s: float = 10.0
) -> AsyncIterator[Supervisor]:
    quick = Backoff(first_s=0.05, longest_s=0.2)
    async with Supervisor(specs, store, tmp_path / "logs", backoff=quick, drain_s=drain_s) as supervisor:
        yield supervisor


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        await asyncio.sleep(0.02)


def state_of(store: Store, name: str) -> str:
    return next(process.state for process in processes(store) if process.name == name)


async def test_killed_child_comes_back_with_a_new_pid(store: Store, tmp_path: Path) -> None:
    async with supervised(store, tmp_path, python("loop", FOREVER)) as supervisor:
        await supervisor.wait_ready("loop", DEADLINE_S)
        first = supervisor.pid("loop")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: supervisor.pid("loop") not in (None, first) and supervisor.is_ready("loop"))
        row = processes(store)[0]
        assert (row.state, row.pid, row.restarts) == ("ready", supervisor.pid("loop"), 1)
        assert row.detail == "killed by SIGKILL"
    assert state_of(store, "loop") == "stopped"


async def test_child_that_keeps_failing_is_tried_again_ever_more_slowly(store: Store, tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = f"import time; open({str(starts)!r}, 'a').write(f'{{time.monotonic()}}\\n'); raise SystemExit(1)"
    async with supervised(store, tmp_path, python("learner", code)) as supervisor:
        await until(lambda: starts.exists() and len(starts.read_text().splitlines()) >= 4)
        times = [float(line) for line in starts.read_text().splitlines()]
        assert times[3] - times[2] >= 0.2, "the wait before the third restart is the longest one"
        assert not supervisor.failed.done()


@pytest.mark.parametrize(("code", "error"), [(2, ConfigError), (69, Unreachable)])
async def test_child_that_cannot_run_as_configured_ends_everything_with_its_line(
    store: Store, tmp_path: Path, code: int, error: type[Exception]
) -> None:
    fails = f"import sys; print('noise'); print('no model at /nowhere', file=sys.stderr); sys.exit({code})"
    specs = (python("loop", FOREVER), python("vllm", fails, ready=exists(tmp_path / "never")))
    async with supervised(store, tmp_path, *specs) as supervisor:
        with pytest.raises(error, match="vllm: no model at /nowhere") as raised:
            await supervisor.wait_ready("vllm", DEADLINE_S)
        assert raised.value.exit_code == code  # type: ignore[attr-defined]
    assert [state_of(store, name) for name in ("loop", "vllm")] == ["stopped", "failed"]


async def test_clear_exit_of_a_child_that_was_ready_is_only_a_restart(store: Store, tmp_path: Path) -> None:
    go, ready = tmp_path / "go", tmp_path / "ready"
    code = f"""
    import os, sys, time
    open({str(ready)!r}, "w")
    while not os.path.exists({str(go)!r}):
        time.sleep(0.02)
    os.remove({str(go)!r})
    sys.exit(69)
    """
    async with supervised(store, tmp_path, python("loop", code, ready=exists(ready))) as supervisor:
        await supervisor.wait_ready("loop", DEADLINE_S)
        first = supervisor.pid("loop")
        go.touch()
        await until(lambda: supervisor.pid("loop") not in (None, first))
        assert not supervisor.failed.done()


async def test_program_that_is_not_there_is_one_clear_line(store: Store, tmp_path: Path) -> None:
    async with supervised(store, tmp_path, ChildSpec("broker", ("no-such-program",))) as supervisor:
        await until(supervisor.failed.done)
        with pytest.raises(ConfigError, match="broker: cannot start no-such-program: No such file"):
            supervisor.failed.result()


async def test_a_log_that_grew_too_long_is_moved_aside_under_the_running_child(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.supervisor._TRIM_EVERY_S", 0.05)
    output, limit = tmp_path / "logs" / "loop.log", 32 * 2**20
    aside = output.with_suffix(".log.1")
    talks = "import time\nwhile True: print('alive', flush=True); time.sleep(0.02)"
    async with supervised(store, tmp_path, python("loop", talks)) as supervisor:
        await supervisor.wait_ready("loop", DEADLINE_S)
        pid = supervisor.pid("loop")
        await until(lambda: output.stat().st_size > 0)
        os.truncate(output, limit + 1)
        await until(lambda: aside.exists() and output.stat().st_size < limit)
        await until(lambda: output.read_bytes().endswith(b"alive\n"))
        assert set(output.read_text().split()) == {"alive"}, "it goes on at the new end, without a hole"
        assert supervisor.pid("loop") == pid
    assert aside.read_bytes().startswith(b"alive\n")
    assert aside.stat().st_size > limit
    assert aside.stat().st_mode & 0o777 == 0o600


async def test_a_log_that_cannot_be_moved_aside_is_moved_when_it_can(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.supervisor._TRIM_EVERY_S", 0.05)
    failed: list[bool] = []
    trim = ChildLog.trim

    def watched(log: ChildLog) -> bool:
        try:
            return trim(log)
        except OSError:
            failed.append(True)
            raise

    monkeypatch.setattr(ChildLog, "trim", watched)
    output = tmp_path / "logs" / "loop.log"
    aside = output.with_suffix(".log.1")
    async with supervised(store, tmp_path, python("loop", "import time; time.sleep(600)")) as supervisor:
        await supervisor.wait_ready("loop", DEADLINE_S)
        aside.mkdir()  # nothing can be copied there
        os.truncate(output, 32 * 2**20 + 1)
        await until(lambda: bool(failed))
        aside.rmdir()
        await until(aside.is_file)


async def test_drain_asks_the_last_spec_first_and_one_at_a_time(store: Store, tmp_path: Path) -> None:
    order = tmp_path / "order"
    names = ("broker", "vllm", "loop", "learner")
    specs = [
        python(
            name,
            POLITE.format(log=str(order), name=name, ready=str(tmp_path / name)),
            ready=exists(tmp_path / name),
        )
        for name in names
    ]
    async with supervised(store, tmp_path, *specs) as supervisor:
        for name in names:
            await supervisor.wait_ready(name, DEADLINE_S)
        assert await supervisor.stop() == []
    assert order.read_text().split() == ["learner", "loop", "vllm", "broker"]


async def test_child_that_ignores_sigterm_is_named_and_killed(store: Store, tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    spec = python("vllm", DEAF.format(str(deaf)), ready=exists(deaf), stop_within_s=0.3)
    async with supervised(store, tmp_path, spec) as supervisor:
        await supervisor.wait_ready("vllm", DEADLINE_S)
        pid = supervisor.pid("vllm")
        assert await supervisor.stop() == ["vllm"]
        assert pid is not None
        assert not psutil.pid_exists(pid)
    assert processes(store)[0].detail == "killed by SIGKILL: it did not stop when asked"


async def test_grandchildren_do_not_outlive_a_killed_child(store: Store, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    code = f"""
    import os, subprocess, sys, time
    worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    open({str(pid_file)!r} + ".new", "w").write(str(worker.pid))
    os.rename({str(pid_file)!r} + ".new", {str(pid_file)!r})
    time.sleep(600)
    """
    async with supervised(store, tmp_path, python("vllm", code, ready=exists(pid_file))) as supervisor:
        await supervisor.wait_ready("vllm", DEADLINE_S)
        worker = int(pid_file.read_text())
        os.kill(supervisor.pid("vllm") or 0, signal.SIGKILL)
        await until(lambda: not _alive(worker))


async def test_child_that_never_gets_ready_is_killed_and_tried_again(store: Store, tmp_path: Path) -> None:
    spec = python("vllm", FOREVER, ready=exists(tmp_path / "never"), ready_within_s=0.3)
    async with supervised(store, tmp_path, spec) as supervisor:
        await until(lambda: processes(store)[0].restarts >= 1)
        with pytest.raises(Unreachable, match=r"vllm not ready after 0.1 s"):
            await supervisor.wait_ready("vllm", 0.1)


async def test_child_waits_for_the_one_it_needs(store: Store, tmp_path: Path) -> None:
    up = tmp_path / "up"
    specs = (python("loop", FOREVER, after=("broker",)), python("broker", FOREVER, ready=exists(up)))
    async with supervised(store, tmp_path, *specs) as supervisor:
        await until(lambda: supervisor.pid("broker") is not None)
        assert supervisor.pid("loop") is None
        up.touch()
        await supervisor.wait_ready("loop", DEADLINE_S)


async def test_a_child_has_its_whole_time_although_the_one_before_it_took_most_of_its_own(
    store: Store, tmp_path: Path
) -> None:
    specs = [python(name, FOREVER, ready=exists(tmp_path / name)) for name in ("vllm", "learner")]
    started = asyncio.Event()

    async def on_ready() -> None:
        started.set()

    async with supervised(store, tmp_path, *specs) as supervisor:
        working = asyncio.create_task(work(supervisor, on_ready, within_s=4.0))
        for name in supervisor.names:  # five seconds in all
            await asyncio.sleep(2.5)
            (tmp_path / name).touch()
        await asyncio.wait_for(started.wait(), DEADLINE_S)
        working.cancel()


async def test_child_gets_its_environment_priority_and_cpu(store: Store, tmp_path: Path) -> None:
    code = """
    import os
    print(os.environ["HEEDLOOP_X"], os.environ["PYTHONSAFEPATH"], os.nice(0), os.sched_getaffinity(0))
    """
    cpu = min(os.sched_getaffinity(0))
    spec = python("learner", code, env={"HEEDLOOP_X": "seen"}, nice=7, cpus=frozenset({cpu}), restart=False)
    async with supervised(store, tmp_path, spec):
        await until(lambda: state_of(store, "learner") == "stopped")
    expected = f"seen 1 {os.nice(0) + 7} {{{cpu}}}"
    assert (tmp_path / "logs" / "learner.log").read_text().strip() == expected
    assert (tmp_path / "logs" / "learner.log").stat().st_mode & 0o777 == 0o600


def test_supervisor_refuses_names_it_does_not_know(store: Store, tmp_path: Path) -> None:
    async def build() -> None:
        Supervisor([ChildSpec("loop", ("true",), after=("brokr",))], store, tmp_path)

    with pytest.raises(ValueError, match="brokr"):
        asyncio.run(build())


PROGRAM = """
import asyncio, sys
from pathlib import Path
from store.logs import configure_logs
from agent.supervisor import ChildSpec, Supervisor, run
from store.database import open_store

home = Path(sys.argv[1])
configure_logs("up", home=home)

async def main():
    async def ready():
        print(supervisor.pid("loop"), flush=True)

    spec = ChildSpec("loop", (sys.executable, "-c", {code!r}), stop_within_s=float(sys.argv[2]))
    supervisor = Supervisor([spec], open_store(home), home / "logs")
    return await run(supervisor, ready)

sys.exit(asyncio.run(main()))
"""


def start_program(
    home: Path, code: str, stop_within_s: float = 10.0, **environment: str
) -> tuple[subprocess.Popen[str], int]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(code=code), str(home), str(stop_within_s)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1", **environment},
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())


def finish(program: subprocess.Popen[str]) -> int:
    assert program.stdout is not None
    with program.stdout:
        return program.wait(DEADLINE_S)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_signal_ends_the_children_and_gives_its_exit_code(
    tmp_path: Path, number: signal.Signals, expected: int
) -> None:
    program, child = start_program(tmp_path, FOREVER)
    program.send_signal(number)
    assert finish(program) == expected
    assert not _alive(child)


WITH_WORKER = """
import subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(worker.pid, flush=True)
time.sleep(600)
"""


async def test_kill_of_the_supervisor_leaves_no_orphan_of_any_generation(tmp_path: Path) -> None:
    program, child = start_program(tmp_path, WITH_WORKER)
    output = tmp_path / "logs" / "loop.log"
    await until(lambda: output.read_text().endswith("\n"))
    worker = int(output.read_text())
    assert _alive(worker)
    program.kill()
    assert finish(program) == -signal.SIGKILL
    await until(lambda: not _alive(child) and not _alive(worker))


def test_reaper_that_was_killed_is_replaced_and_knows_all_groups() -> None:
    groups = [
        subprocess.Popen([sys.executable, "-c", FOREVER], process_group=0),
        subprocess.Popen([sys.executable, "-c", FOREVER], process_group=0),
    ]
    reaper = Reaper()
    reaper.watch(groups[0].pid)
    (process,) = [child for child in psutil.Process().children() if "reaper" in " ".join(child.cmdline())]
    process.kill()
    process.wait(DEADLINE_S)
    reaper.watch(groups[1].pid)
    reaper.forget(groups[1].pid)
    reaper.close()
    assert groups[0].wait(DEADLINE_S) == -signal.SIGKILL
    assert groups[1].poll() is None, "was forgotten, and lives"
    groups[1].kill()
    groups[1].wait(DEADLINE_S)


async def test_second_interrupt_does_not_wait_for_a_deaf_child(tmp_path: Path) -> None:
    deaf = tmp_path / "deaf"
    program, child = start_program(tmp_path, DEAF.format(str(deaf)), stop_within_s=600)
    await until(deaf.exists)
    program.send_signal(signal.SIGINT)
    await until(lambda: '"stopping"' in (tmp_path / "logs" / "up.log").read_text())
    program.send_signal(signal.SIGINT)
    assert finish(program) == 1, "a child had to be killed"
    assert not _alive(child)


async def test_systemd_is_told_when_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(DEADLINE_S)
        program, _ = start_program(tmp_path, FOREVER, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert channel.recv(100) == b"READY=1"
        program.terminate()
        assert channel.recv(100) == b"STOPPING=1"
        assert finish(program) == 0


async def test_the_watchdog_hears_of_a_living_supervisor_and_not_of_a_stopped_one(tmp_path: Path) -> None:
    """As the unit in deploy/ has it: Type=notify with WatchdogSec, here of a fifth of a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(DEADLINE_S)
        program, _ = start_program(
            tmp_path, FOREVER, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="200000"
        )
        said = [channel.recv(100)]
        while said.count(b"WATCHDOG=1") < 5 or b"READY=1" not in said:
            said.append(channel.recv(100))
        assert set(said) == {b"READY=1", b"WATCHDOG=1"}
        program.send_signal(signal.SIGSTOP)
        channel.setblocking(False)
        await until(lambda: Path(f"/proc/{program.pid}/stat").read_text().split()[2] == "T")
        with contextlib.suppress(BlockingIOError):
            while True:
                channel.recv(100)
        await asyncio.sleep(1.0)  # five of its periods: systemd would have killed it
        with pytest.raises(BlockingIOError):
            channel.recv(100)
        program.send_signal(signal.SIGCONT)
        channel.settimeout(DEADLINE_S)
        assert channel.recv(100) == b"WATCHDOG=1"
        program.terminate()
        while channel.recv(100) != b"STOPPING=1":
            continue
        assert finish(program) == 0


def test_the_unit_asks_for_what_the_supervisor_gives() -> None:
    unit = (Path(__file__).parents[2] / "deploy" / "heedloop.service").read_text()
    assert "Type=notify\n" in unit
    assert int(next(line for line in unit.splitlines() if line.startswith("WatchdogSec="))[12:]) >= 30


FAKE = """#!/usr/bin/env bash
case $(basename "$0") in
systemctl) grep -h "^$3=" "$UNIT" | tail -1 | cut -d= -f2- | sed "s|%S|/var/lib|g; s|%C|/var/cache|g" ;;
getent) echo "$2:x:7:7::/var/lib/$2:/usr/sbin/nologin" ;;
id) echo 7 ;;
setpriv) pwd; echo "$@"; env ;;
esac
"""
"""Programs of a machine with the unit: `$3` of systemctl is the property that is asked for."""


def test_a_verb_is_run_as_the_service_with_its_user_settings_and_secrets(tmp_path: Path) -> None:
    deploy = Path(__file__).parents[2] / "deploy"
    (tmp_path / "environment").write_text("HEEDLOOP_BUS__URL=mqtt://loop:secret@127.0.0.1:1883\n")
    script = (deploy / "as_service.sh").read_text().replace("/etc/heedloop", str(tmp_path))
    for name in ("systemctl", "getent", "id", "setpriv"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "UNIT": str(deploy / "heedloop.service")}
    command = ["bash", "-c", script, "as_service.sh", "config", "show"]
    run = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
    folder, started, *variables = run.stdout.splitlines()
    assert folder == "/"
    assert started.startswith("--reuid heedloop --regid 7 --init-groups ")
    assert started.endswith("/opt/heedloop/.venv/bin/python /opt/heedloop/run.py config show")
    assert {
        "HOME=/var/lib/heedloop",
        "HEEDLOOP_HOME=/var/lib/heedloop",
        "XDG_CONFIG_HOME=/etc",
        "XDG_CACHE_HOME=/var/cache/heedloop",
        "HEEDLOOP_BUS__URL=mqtt://loop:secret@127.0.0.1:1883",
    } <= set(variables)
    without = subprocess.run(
        command, env={**environment, "UNIT": "/dev/null"}, capture_output=True, text=True, check=False
    )
    assert (without.returncode, without.stderr.count("\n")) == (2, 1)
    assert "no unit heedloop" in without.stderr
