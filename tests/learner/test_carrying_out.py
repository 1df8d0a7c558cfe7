"""Commands and breaches are exactly once: killed with -9 on the way, failing, or given up."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_system
import torch
from small_system import CONFIG, System, fill, serve
from torch import Tensor

from learner.commands import MOST_TRIES, carry_out
from policies.example import Example
from policies.guard import Judgement
from policies.messages import CommandName, CommandPayload
from store import backoff, commands, examples, quarantine, state, versions

NAME = "model.layers.0.mlp.up_proj.weight"
Opened = Callable[[], System]


@pytest.fixture
def opened(model_dir: Path, tmp_path: Path, owner: Any) -> Iterator[Opened]:
    """Attach to the weights of the test, as the learner does at each start; the one before lets go."""
    serve(tmp_path, model_dir, owner.process.pid)
    open_ones: list[System] = []

    def opened() -> System:
        for system in open_ones:
            system.close()
        open_ones[:] = [System(tmp_path, model_dir)]
        return open_ones[0]

    yield opened
    open_ones[0].close()


def place(kill: tuple[str, int]) -> str:
    return f"{kill[0]}-{kill[1]}"


def order(system: System, event_id: str, name: CommandName, **arguments: Any) -> CommandPayload:
    command = CommandPayload(event_id=event_id, command=name, args=arguments)
    with system.store.write() as connection:
        commands.insert(connection, "a", command)
    return command


def said(system: System, kind: str) -> list[Any]:
    payloads = [json.loads(row["payload"]) for row in system.store.rows("SELECT payload FROM outbox")]
    return [payload for payload in payloads if payload["type"] == kind]


def with_versions(system: System, values: list[float]) -> list[str]:
    """Make a version for each value, and a vector of each; return the fingerprints, of the base first."""
    system.lineage.settle()
    found = [system.live.fingerprint()]
    for number, value in enumerate(values):
        changed: Tensor = torch.full(system.live.shape(NAME), value)
        system.lineage.apply("vector", f"all {value}", [(NAME, changed)])
        found.append(system.live.fingerprint())
        block = (NAME, 0, changed.shape[0], changed)
        system.library.add(f"v{number}", {NAME: tuple(changed.shape)}, [block], recipe="made")
    return found


@pytest.mark.parametrize("kill", [("add", 1), ("_write_back", 1), ("point", 2), ("finish", 1)], ids=place)
def test_a_rollback_killed_anywhere_goes_back_once(
    kill: tuple[str, int], opened: Opened, model_dir: Path, tmp_path: Path
) -> None:
    system = opened()
    fingerprints = with_versions(system, [0.5, 0.25])
    order(system, "k", "rollback")
    before = len(versions.every(system.store))
    system = _killed_and_started_again(system, opened, kill, model_dir, tmp_path)
    assert system.live.fingerprint() == fingerprints[1]
    assert len(versions.every(system.store)) == before + 1
    outcome, result = commands.outcome(system.store, "k") or ("", {})
    assert (outcome, result["version"]) == ("done", system.lineage.version.id)
    assert (result["bit_for_bit"], result["quarantined"]) == (True, 0)
    assert [event["bit_for_bit"] for event in said(system, "rollback")] == [True]
    assert [reply["reply_to"] for reply in said(system, "reply")] == ["k"]


@pytest.mark.parametrize("kill", [("write", 1), ("write", 2), ("point", 2), ("finish", 1)], ids=place)
def test_vectors_whose_addition_is_killed_anywhere_are_added_once_each(
    kill: tuple[str, int], opened: Opened, model_dir: Path, tmp_path: Path
) -> None:
    system = opened()
    with_versions(system, [0.5, 0.25])
    order(system, "k", "apply_vector", expression="v0 + 2*v1")
    before = len(versions.every(system.store))
    system = _killed_and_started_again(system, opened, kill, model_dir, tmp_path)
    rows = system.store.rows("SELECT vector, scale FROM applications ORDER BY rowid")
    assert [tuple(row) for row in rows] == [("v0", 1.0), ("v1", 2.0)]
    assert len(versions.every(system.store)) == before + 2
    assert system.live.fingerprint() == system.lineage.version.fingerprint
    assert float(system.live.read(NAME).float().mean()) == pytest.approx(0.25 + 0.5 + 2 * 0.25, rel=0.01)
    outcome, result = commands.outcome(system.store, "k") or ("", {})
    assert (outcome, [part["vector"] for part in result["applied"]]) == ("done", ["v0", "v1"])
    assert [reply["ok"] for reply in said(system, "reply")] == [True]


def test_a_command_that_breaks_the_learner_has_failed_after_its_last_try(opened: Opened) -> None:
    system = opened()
    system.lineage.settle()
    command = order(system, "k", "steer")

    def full(_: object) -> dict[str, Any]:
        raise OSError(28, "No space left on device")

    for left in range(MOST_TRIES - 1, -1, -1):
        with pytest.raises(OSError, match="No space"):
            carry_out(system.store, command, system.lineage, system.rounds, {"steer": full})
        assert bool(commands.waiting(system.store)) == bool(left)
    outcome, result = commands.outcome(system.store, "k") or ("", {})
    assert outcome == "failed"
    assert (
        result["reason"] == f"given up after {MOST_TRIES} tries: OSError: [Errno 28] No space left on device"
    )


def test_a_command_in_which_the_learner_was_killed_each_time_has_failed(opened: Opened) -> None:
    system = opened()
    system.lineage.settle()
    command = order(system, "k", "steer")
    for _ in range(MOST_TRIES):  # KeyboardInterrupt: nothing is written after it, as after a kill
        with pytest.raises(KeyboardInterrupt):
            carry_out(system.store, command, system.lineage, system.rounds, {"steer": _killed})
    carry_out(system.store, command, system.lineage, system.rounds, {"steer": _killed})
    outcome, result = commands.outcome(system.store, "k") or ("", {})
    assert (outcome, "was killed each time" in result["reason"]) == ("failed", True)


def _killed(_: object) -> dict[str, Any]:
    raise KeyboardInterrupt


@pytest.mark.parametrize("kill", [("_write_back", 1), ("point", 2), ("harms", 1)], ids=place)
def test_a_breach_killed_anywhere_is_undone_said_and_answered_with_a_lower_rate_once(
    kill: tuple[str, int], opened: Opened, model_dir: Path, tmp_path: Path
) -> None:
    system = opened()
    before = _about_to_breach(system)
    system.close()
    killed = small_system.in_process_of_its_own(small_system.learn, tmp_path, model_dir, kill)
    assert killed == -signal.SIGKILL
    system = opened()
    system.lineage.settle()
    assert system.live.fingerprint() == before
    assert system.lineage.version.kind == "rollback"
    assert backoff.factor(system.store) == CONFIG.guard.backoff
    assert state.get(system.store, "guard_evidence") is None
    [event] = said(system, "rollback")
    assert event["bit_for_bit"] is True
    [alert] = said(system, "alert")
    assert "breach: nll worse" in alert["message"]
    assert f"{event['quarantined']} corrections in quarantine" in alert["message"]
    assert len(quarantine.waiting(system.store)) == event["quarantined"] > 0


def test_after_a_breach_the_cause_is_named_and_the_innocent_wait_again(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = opened()
    before = _about_to_breach(system)
    blamed: list[str] = []

    def harms(_: object, suspects: list[Example]) -> dict[str, float]:  # the search is test_causes.py's
        blamed.extend(one.id for one in suspects)
        return {name: float(name == blamed[0]) for name in blamed}

    monkeypatch.setattr(system.rounds._causes, "harms", harms)
    system.rounds.run(lambda: False)
    assert system.live.fingerprint() == before
    breach, cause = (alert["message"] for alert in said(system, "alert"))
    assert f"{len(blamed)} corrections in quarantine" in breach
    assert f"learning rate times {CONFIG.guard.backoff:g}" in breach
    assert cause == (
        f"cause of the breach: {blamed[0]}; {len(blamed) - 1} corrections found innocent wait again"
    )
    assert [(row["id"], row["score"]) for row in quarantine.waiting(system.store)] == [(blamed[0], 1.0)]
    assert set(blamed[1:]) <= {usable.example.id for usable in examples.pending(system.store)}
    monkeypatch.setattr(system.rounds._watch, "_judge", lambda *_: Judgement(breach=False, reasons=()))
    assert system.rounds.check()
    assert backoff.factor(system.store) == CONFIG.guard.backoff * CONFIG.guard.recovery


def _killed_and_started_again(
    system: System, opened: Opened, kill: tuple[str, int], model_dir: Path, tmp_path: Path
) -> System:
    """Let a process of its own obey what waits, kill it, and let another one go on."""
    system.close()
    killed = small_system.in_process_of_its_own(small_system.obey, tmp_path, model_dir, kill)
    assert killed == -signal.SIGKILL
    again = opened()
    again.obey()
    return again


def _about_to_breach(system: System) -> str:
    """Give it much to learn, and a baseline that nothing can match. Returns the base's fingerprint."""
    fill(system.store)
    system.lineage.settle()
    system.rounds.measure("baseline")
    small_system.unmatchable_baseline(system.store, 1e-9)
    return system.live.fingerprint()
