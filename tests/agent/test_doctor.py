"""The doctor, on this installation and on broken surroundings."""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import BrokerProcess, free_port

from agent.diagnosis import installation, machine, services
from agent.diagnosis.finding import Finding
from agent.diagnosis.store import examine_store
from agent.doctor import examine, exit_code
from policies.config import Config, GuardConfig, ServerConfig
from store import state
from store.damage import Damage
from store.database import open_store
from store.processes import record_process
from store.settings import load_config


def config(**sections: dict[str, object]) -> Config:
    return Config.model_validate(sections)


def only(findings: Iterator[Finding]) -> Finding:
    (finding,) = findings
    return finding


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    return folder


def test_this_installation_is_fit_to_run(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    findings = examine(load_config(overrides={"training.seed": 3}))
    assert exit_code(findings) == 0, [finding for finding in findings if finding.verdict == "missing"]
    by_name = {finding.name: finding for finding in findings}
    assert by_name["torch"].detail.startswith("2.13")
    assert by_name["vllm plugin"].detail == "heedloop_live = learner.live.plugin:register"
    assert by_name["settings"].detail == "2 set by HEEDLOOP_HOME, command line"
    assert not (home / "heedloop.db").exists(), "the doctor only looks"
    assert all(finding.advice for finding in findings if finding.verdict != "ok")


def test_missing_package_and_plugin_are_found(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [])
    findings = [*installation.packages(Config(), home), *installation.plugin(Config(), home)]
    assert [finding.verdict for finding in findings] == ["missing"] * 4
    assert {finding.advice for finding in findings} == {"run `make setup`"}


def test_installed_trap_and_old_package_are_found(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, number in (("triton", "3.9.0"), ("transformers", "5.2.0")):
        record = tmp_path / f"{name}-{number}.dist-info"
        record.mkdir()
        (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")
    monkeypatch.syspath_prepend(tmp_path)
    trap = next(finding for finding in installation.traps(Config(), home) if finding.name == "triton")
    assert (trap.verdict, trap.advice) == ("warn", ".venv/bin/pip uninstall triton")
    old = next(finding for finding in installation.packages(Config(), home) if finding.name == "transformers")
    assert (old.verdict, old.detail) == ("missing", "5.2.0, but 5.19 or newer is needed")


def test_too_little_room_is_named_with_its_need(home: Path, tmp_path: Path) -> None:
    weights = tmp_path / "model"
    weights.mkdir()
    with (weights / "model.safetensors").open("wb") as file:
        file.truncate(2**43)  # a sparse file
    huge = Config(server=ServerConfig(model=str(weights)), guard=GuardConfig(keep_versions=3))
    assert only(machine.shared_memory(huge, home)).verdict == "missing"
    assert only(machine.memory(huge, home)).verdict == "warn"
    assert only(machine.disk(huge, home)).verdict == "warn"
    for check in (machine.shared_memory, machine.memory, machine.disk):
        assert only(check(Config(), home)).verdict == "ok"


def test_state_folder_that_others_can_read_or_that_cannot_be(home: Path, tmp_path: Path) -> None:
    home.chmod(0o755)
    readable = only(services.state_folder(Config(), home))
    assert (readable.verdict, readable.advice) == ("warn", f"chmod 700 {home}")
    (tmp_path / "file").touch()
    assert only(services.state_folder(Config(), tmp_path / "file" / "home")).verdict == "missing"
    assert only(services.state_folder(Config(), tmp_path / "file")).verdict == "missing"
    assert only(services.state_folder(Config(), tmp_path / "new")).verdict == "ok"


def test_store_is_opened_and_a_wrong_file_is_named(home: Path) -> None:
    open_store(home).close()
    assert only(services.store(Config(), home)).detail.endswith("heedloop.db: 0 events")
    (home / "heedloop.db").write_bytes(b"no database at all " * 100)
    for leftover in home.glob("heedloop.db-*"):
        leftover.unlink()
    broken = only(services.store(Config(), home))
    assert broken.verdict == "missing"
    assert "not a store of heedloop" in broken.detail


def test_an_older_store_is_told_how_to_give_room_back_and_that_works(home: Path) -> None:
    opened = open_store(home)
    opened.connection.execute("PRAGMA auto_vacuum = NONE")
    opened.connection.execute("VACUUM")
    opened.close()
    finding = only(services.store(Config(), home))
    assert (finding.verdict, "never gets smaller" in finding.detail) == ("warn", True)
    advised = finding.advice.split('"')[1]
    connection = sqlite3.connect(home / "heedloop.db")
    connection.executescript(advised)
    connection.close()
    assert only(services.store(Config(), home)).verdict == "ok"


@pytest.mark.parametrize(
    ("name", "verdict", "says"),
    [
        ("/no/such/folder", "missing", "no such folder"),
        ("some-org/some-model", "warn", "is not in the cache"),
    ],
)
def test_model_that_is_not_there(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, verdict: str, says: str
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    finding = only(services.model(config(server={"model": name}), home))
    assert finding.verdict == verdict
    assert says in finding.detail


def test_embedded_model_before_and_after_its_first_start(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "made at the first start, from" in only(services.model(Config(), home)).detail
    made = tmp_path / "heedloop" / "models" / "smollm2-abc"
    made.mkdir(parents=True)
    (made / "config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"x" * 1000)
    assert only(services.model(Config(), home)).detail == f"smollm2: {made}"


def test_broker_lets_us_in_or_says_why_not(home: Path, amqtt: BrokerProcess) -> None:
    assert only(services.broker(config(bus={"url": amqtt.url}), home)).verdict == "ok"
    wrong = f"mqtt://heedloop:wrong@127.0.0.1:{amqtt.port}"
    refused = only(services.broker(config(bus={"url": wrong}), home))
    assert refused.verdict == "missing"
    assert "wrong" not in refused.detail, "no password in a report"
    absent = only(services.broker(config(bus={"url": f"mqtt://127.0.0.1:{free_port()}"}), home))
    assert (absent.verdict, "refused" in absent.detail.lower()) == ("missing", True)
    assert only(services.broker(config(bus={"url": "http://127.0.0.1"}), home)).verdict == "missing"


def test_port_of_somebody_else_is_named_but_not_our_own(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        wanted = config(http={"port": port}, server={"port": free_port()})
        taken = only(services.ports(wanted, home))
        assert (taken.name, taken.verdict) == ("http.port", "missing")
        store = open_store(home)
        record_process(store, "loop", "ready", os.getpid())
        store.close()
        assert list(services.ports(wanted, home)) == []


def test_server_that_should_run_is_asked(home: Path) -> None:
    assert only(services.server(Config(), home)).verdict == "ok"
    url = f"http://127.0.0.1:{free_port()}"
    assert only(services.server(config(server={"url": url}), home)).verdict == "missing"
    store = open_store(home)
    with store.write() as connection:
        state.put(connection, "server_url", url)
    assert only(services.server(Config(), home)).verdict == "ok", "nothing of ours runs"
    record_process(store, "vllm", "ready", os.getpid())
    store.close()
    assert url in only(services.server(Config(), home)).detail
    assert only(services.server(Config(), home)).verdict == "missing"


def test_the_store_is_judged_with_the_live_weights_only_while_they_are_served(home: Path) -> None:
    asked: list[Path] = []

    def live(folder: Path) -> Iterator[Damage]:
        asked.append(folder)
        yield Damage("live weights differ from their version", "damage", 1, ("v1",), "restart")

    opened = open_store(home)
    (sound,) = examine_store(home, live)
    assert (sound.verdict, asked) == ("ok", [])
    record_process(opened, "vllm", "ready", os.getpid())
    (wrong,) = examine_store(home, live)
    assert (wrong.name, wrong.verdict, asked) == ("live weights differ from their version", "failed", [home])
    assert exit_code([wrong]) == 1
    with opened.write() as connection:
        connection.execute("INSERT INTO log_losses (frames, found) VALUES (3, 1)")
    record_process(opened, "vllm", "stopped", None)
    (told,) = examine_store(home, live)
    assert (told.verdict, exit_code([told])) == ("warn", 0), "it is on record"
    opened.close()
