"""Every command in the documents: those that can are run, the others are at least parsed by what they call.

How a block is tested: CONTRIBUTING.md, "Commands in the docs".
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from doc_blocks import (
    DATA,
    FILES,
    MODES,
    ROOT,
    SHELL,
    Block,
    blocks,
    check,
    check_data,
    check_mention,
    check_module,
    check_target,
    commands,
    has_command,
    mentions,
)

from agent.ingest import Ingest
from agent.language import detect_language
from agent.reading import read_file
from policies.config import Config
from store import counters, outbox, probes, steps, versions
from store.clock import now_ms
from store.database import open_store
from tests.agent.test_contract import fits
from tests.test_running_system import System, all_learned, conversation, eventually

EVERY = [block for file in FILES for block in blocks(file)]
TIMEOUT_S = 300
START_S = 1200.0
SETTINGS = {"SERVER__START_TIMEOUT_S": str(START_S)} | {
    f"GUARD__{name}": "99" for name in ("NLL_INCREASE", "REPETITION", "LENGTH_CHANGE", "ENTROPY_CHANGE")
}
"""A random model of two layers: nothing that it does is a breach."""
NAMES = [str(file.relative_to(ROOT)) for file in FILES]


@pytest.fixture(scope="module")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state folder in which something was learned: conversations, labels, two versions, steps, probes."""
    home = tmp_path_factory.mktemp("docs") / "home"
    store = open_store(home)
    reading = read_file(ROOT / "examples/conversation.jsonl", now_ms())
    Ingest(store, Config(), detect_language).keep("agent", reading.turns, reading.rejected, "cli:examples")
    example = store.rows("SELECT id FROM examples WHERE kind = 'correction' ORDER BY id")[0]["id"]
    with store.write() as connection:
        base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
        versions.add(connection, base)
        step = steps.begin(connection, base.id, 1e-4, [("correction", example), ("general", example)])
        steps.confirm(
            connection, step, loss=0.5, row_losses=[0.5, 0.5], seconds=1, changed_bytes=1, detail={}
        )
        learned = versions.new_version(base, "train", first_step=1, last_step=1, file=None, fingerprint="g")
        versions.add(connection, learned)
        scores = {"facts": {"a": 1.0}, "follow": {example: 1.0}}
        for version, verdict in ((base, "baseline"), (learned, "accept")):
            probes.add(
                connection,
                step_id=step,
                version_id=version.id,
                verdict=verdict,
                seconds=1,
                reason="",
                scores=scores,
            )
        outbox.alert(connection, "something that a person should know")
        counters.add(connection, "answers", 1)
    store.close()
    return home


@pytest.fixture
def workplace(lived_in: Path, tmp_path: Path) -> Path:
    """A folder that looks like the checkout, and may be written to; its state folder is a copy."""
    shutil.copytree(lived_in, tmp_path / "home")
    return make_workplace(tmp_path)


def make_workplace(folder: Path) -> Path:
    """Lay links to all of the checkout into a new folder, with a `.venv` of the Python that runs this."""
    place = folder / "checkout"
    place.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in (".venv", ".git"):
            (place / entry.name).symlink_to(entry)
    python = place / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return place


def environment(place: Path, **more: str) -> dict[str, str]:
    """What a block is run with: the state folder beside the workplace, and no configuration of the user."""
    path = f"{place / '.venv/bin'}:{os.environ['PATH']}"
    home = {"HEEDLOOP_HOME": str(place.parent / "home"), "XDG_CONFIG_HOME": str(place.parent)}
    home |= {"XDG_STATE_HOME": str(place.parent / "state")}
    return os.environ | home | {"PATH": path, "PYTHONPATH": str(ROOT)} | more


def execute(block: Block, place: Path, env: dict[str, str]) -> None:
    """Run a block as a person would who pastes it; fail with what it said."""
    program = [sys.executable, "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    ended = subprocess.run(
        [*program, block.text],
        cwd=place,
        env=env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, f"{block}\n{block.text}\n{ended.stdout[-2000:]}\n{ended.stderr[-3000:]}"


def watch(block: Block, place: Path, env: dict[str, str]) -> None:
    """Run a command that goes on until it is interrupted, for two refreshes."""
    (words,) = commands(block)
    heard = ["env", "--default-signal=INT", *words]  # in the background of a shell SIGINT is ignored
    with subprocess.Popen(heard, cwd=place, env=env, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        seen = 0
        for line in running.stdout:
            seen += line.startswith("heedloop")
            assert "\x1b" not in line
            if seen == 2:
                break
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    assert seen == 2


@pytest.mark.parametrize("block", EVERY, ids=str)
def test_a_block_says_how_it_is_tested(block: Block, tmp_path: Path) -> None:
    assert block.mode in MODES, f"{block}: test: {block.mode}"
    assert block.reason or block.mode != "parse", f"{block}: why is it not run?"
    if block.language in DATA:
        check_data(block, tmp_path)
    elif block.language in SHELL | {"indented"}:
        found = commands(block)
        assert found, f"{block}: no command"
        for words in found:
            check(words)
    elif block.language == "python":
        compile(block.text, str(block), "exec")
    else:
        assert block.language in ("", "text"), f"{block}: nothing here tests {block.language!r}"
        assert not has_command(block.text), f"{block}: commands, but not ```bash"


@pytest.mark.parametrize("name", NAMES)
def test_what_can_be_run_runs(name: str, workplace: Path) -> None:
    for block in blocks(ROOT / name):
        if block.mode == "file":
            (workplace / block.target).write_text(block.text)
        elif block.mode == "watch":
            watch(block, workplace, environment(workplace))
        elif block.mode == "run" and block.language in SHELL | {"python"}:
            execute(block, workplace, environment(workplace))


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_what_needs_a_running_system_runs_and_says_what_the_contract_knows(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.learner.small_system import make_model  # torch: not for the tests that need none

    model = make_model(tmp_path / "tiny", smollm2_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(f"HEEDLOOP_{name}", value)
    monkeypatch.setenv("HEEDLOOP_SERVER__MODEL", str(model))
    system = System(tmp_path / "home")
    place = make_workplace(tmp_path)
    try:
        eventually(system.ready, START_S, "readiness")
        ordinary, _ = conversation("What is a pond?")  # replay: the base's own answers are none
        system.say("turns", {"conversation_id": ordinary[0]["conversation_id"], "turns": ordinary[1:]})
        turns, correction = conversation("What is a lake?")
        system.say("turns", {"conversation_id": turns[0]["conversation_id"], "turns": turns})
        system.say("corrections", correction)
        eventually(lambda: all_learned(system, 1), START_S, "learning a correction")
        for block in EVERY:
            if block.mode == "system":
                execute(block, place, environment(place, **system.environment))
        store = system.store
        told = [json.loads(row["payload"]) for row in store.rows("SELECT payload FROM outbox")]
        given = store.rows("SELECT 1 FROM corrections WHERE event_id = '1' AND source = 'http'")
        heard = store.rows("SELECT 1 FROM events WHERE agent = 'example' AND role = 'assistant'")
        store.close()
    finally:
        code = system.stop()
    assert code == 0
    assert {"label", "step", "probe", "version", "rollback", "reply"} <= {event["type"] for event in told}
    for event in told:
        fits(event)
    assert given, "the correction over HTTP (docs/security.md)"
    assert heard, "the turns of examples/openai_agent.py"


@pytest.mark.parametrize("name", NAMES)
def test_commands_in_sentences_exist(name: str) -> None:
    for span in mentions(ROOT / name):
        if "run.py " in span:
            check_mention(span.partition("run.py ")[2])
        elif span.startswith("make "):
            check_target(shlex.split(span)[1:])
        else:
            module, *words = span.partition("-m ")[2].split()
            check_module(module, [word for word in words if word.startswith("--")])


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name: str) -> None:
    file = ROOT / name
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[\w-]*)?\)", file.read_text()):
        assert (file.parent / link).exists(), f"{name}: {link}"


def test_every_fenced_command_is_counted_once() -> None:
    fenced = [block for block in EVERY if block.language in SHELL]
    counted = {mode: sum(len(commands(b)) for b in fenced if b.mode == mode) for mode in MODES}
    print(counted)
    assert sum(counted.values()) == sum(len(commands(block)) for block in fenced)
    assert counted["run"] + counted["watch"] >= 20
    assert counted["system"] > 0
    assert counted["file"] == 0


@pytest.mark.parametrize(
    "text",
    [
        "run.py frobnicate",
        "run.py status --wach",
        ".venv/bin/python run.py versions lst",
        "python -m benchmarks.labels --no-such-option",
        "python -m benchmarks.nothing",
        "make everything",
        "python examples/nothing.py",
        "frobnicate --now",
        'X="$(run.py stats)" run.py status',
        "run.py status | run.py nothing",
    ],
)
def test_a_wrong_command_is_found(text: str) -> None:
    found = commands(Block(ROOT / "README.md", 1, "bash", "parse", "", "why", text))

    def look() -> None:
        for words in found:
            check(words)

    with pytest.raises(AssertionError):
        look()


def test_a_wrong_command_in_a_sentence_is_found() -> None:
    with pytest.raises(AssertionError, match="no verb"):
        check_mention("versions lst V")
    with pytest.raises(AssertionError, match="--wach"):
        check_mention("status [--wach]")
