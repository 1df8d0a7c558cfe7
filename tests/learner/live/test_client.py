"""The live weights of real servers: every parameter through, back, and in the answers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from safetensors import safe_open

from learner.live.client import LiveWeights
from learner.live.control import Position
from learner.versioning.delta_file import DeltaFile
from policies.errors import ConfigError, GuardRefused

SERVERS = ("smollm2_server", "qwen35_server")
one_server = pytest.mark.parametrize("server", SERVERS[1:], indirect=True)  # what no model changes
PROMPT = [1, 504, 3575, 282, 4649, 314, 260, 2240, 282, 1780, 30, 198, 4093, 253, 3049, 4218]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def live(server: Any) -> Any:
    weights = LiveWeights.attach(server.arena)
    before = weights.fingerprint()
    yield weights
    assert weights.fingerprint() == before, "a test left other weights behind"
    weights.close()


def ask(server: Any, **body: Any) -> Any:
    request = {"model": server.name, "prompt": PROMPT, "temperature": 0, "max_tokens": 1} | body
    reply = httpx.post(f"{server.url}/v1/completions", json=request, timeout=120, trust_env=False)
    reply.raise_for_status()
    return reply.json()["choices"][0]


def prompt_logprobs(server: Any) -> list[float]:
    rows = ask(server, prompt_logprobs=0)["prompt_logprobs"][1:]
    return [entry["logprob"] for row in rows for entry in row.values()]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONSAFEPATH": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def rewrite(live: LiveWeights, name: str, value: torch.Tensor) -> None:
    position = live.position()
    with live.publishing(position.version, position.step):
        live.write(name, value)


def test_every_parameter_is_written_read_back_and_restored_bit_for_bit(live: LiveWeights) -> None:
    before = live.fingerprint()
    kept = {name: live.read(name) for name in live.names}
    fresh = {name: -value.flatten().roll(1).view(value.shape) for name, value in kept.items()}
    with live.publishing("test", 1):
        for name, value in fresh.items():
            live.write(name, value)
    read_back = {name: torch.equal(live.read(name), value) for name, value in fresh.items()}
    views = {n: torch.equal(v, fresh[n]) for n in live.names if (v := live.view(n)) is not None}
    changed = live.fingerprint()
    with live.publishing("base", 0):
        for name, value in kept.items():
            live.write(name, value)
    assert all(read_back.values())
    assert views
    assert all(views.values())
    assert changed != before
    assert live.fingerprint() == before
    assert all(torch.equal(live.read(name), value) for name, value in kept.items())


def test_names_and_shapes_are_those_of_the_checkpoint(live: LiveWeights, server: Any) -> None:
    with safe_open(server.model_dir / "model.safetensors", "pt") as checkpoint:
        shapes = {name: tuple(checkpoint.get_slice(name).get_shape()) for name in checkpoint.keys()}  # noqa: SIM118
    assert {name: live.shape(name) for name in live.names} == shapes


def test_answers_follow_every_kind_of_weight_and_come_back(live: LiveWeights, server: Any) -> None:
    kinds = {name.split(".layers.")[-1].partition(".")[2] or name: name for name in live.names}
    base = prompt_logprobs(server)
    torch.manual_seed(2)
    outcome = {}
    for name in kinds.values():
        value = live.read(name)
        rewrite(live, name, value.float() * 1.3 + 0.05 * torch.randn(value.shape))
        changed = prompt_logprobs(server)
        rewrite(live, name, value)
        outcome[name] = (changed != base, prompt_logprobs(server) == base)
    assert {name for name, seen in outcome.items() if seen != (True, True)} == set()


def test_transformers_on_the_live_values_agrees_with_the_server(live: LiveWeights, server: Any) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(
        AutoConfig.from_pretrained(server.model_dir), dtype=torch.float32
    )
    state = {name: live.read(name).float() for name in live.names}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert missing in ([], ["lm_head.weight"])  # tied
    model.tie_weights()
    with torch.no_grad():
        ours = model.eval()(torch.tensor([PROMPT])).logits[0].log_softmax(-1)
    rows = ask(server, prompt_logprobs=20)["prompt_logprobs"][1:]
    errors = []
    for position, row in enumerate(rows):
        theirs = {int(token): entry["logprob"] for token, entry in row.items()}
        mine = torch.stack([ours[position, token] for token in theirs])
        other = torch.tensor(list(theirs.values()))
        errors.append(((mine - other).norm() / other.norm()).item())
    top = ask(server, logprobs=20, max_tokens=1)["logprobs"]["token_logprobs"][0]
    assert max(errors) < 0.05
    assert top == pytest.approx(ours[-1].max().item(), abs=0.15)
    first, second = ours[: len(rows)].topk(2).values.T
    clear = (first - second > 0.5).nonzero().flatten().tolist()  # bfloat16 may turn a near tie
    best = [max(rows[at], key=lambda token, row=rows[at]: row[token]["logprob"]) for at in clear]
    assert [int(token) for token in best] == ours[clear].argmax(-1).tolist()
    assert len(clear) >= 3


@one_server
def test_publishing_marks_the_position_once_and_not_after_a_failure(live: LiveWeights) -> None:
    start = live.position()
    with live.publishing("01A", 3):
        assert live.position() == start
    assert live.position() == Position("01A", 3, start.epoch + 1)
    with pytest.raises(ZeroDivisionError), live.publishing("01B", 4):
        _ = 1 / 0
    assert live.position() == Position("01A", 3, start.epoch + 1)
    live.mark(start.version, start.step)


@one_server
def test_only_one_process_may_write(live: LiveWeights, server: Any) -> None:
    with pytest.raises(GuardRefused, match="only one may"):
        LiveWeights.attach(server.arena)
    reader = LiveWeights.attach(server.arena, exclusive=False)
    assert reader.fingerprint() == live.fingerprint()
    with pytest.raises(GuardRefused, match="read only"), reader.publishing("x", 1):
        pass


@one_server
def test_wrong_names_shapes_and_moments_are_refused(live: LiveWeights) -> None:
    name = live.names[0]
    with pytest.raises(GuardRefused, match="inside `publishing`"):
        live.write(name, live.read(name))
    with live.publishing("x", 1):
        with pytest.raises(ConfigError, match="no such parameter"):
            live.write("model.nothing", torch.zeros(1))
        with pytest.raises(ConfigError, match="shape"):
            live.write(name, torch.zeros(3))


@one_server
def test_a_borrowed_value_comes_back_after_a_kill(live: LiveWeights, server: Any) -> None:
    before, name, arena = live.fingerprint(), live.names[-1], server.arena
    live.close()
    code = f"""
import os
from pathlib import Path
from learner.live.client import LiveWeights
from learner.versioning.delta_file import DeltaFile
live = LiveWeights.attach(Path({str(arena)!r}))
with live.borrowed({name!r}) as (name, value), live.publishing("x", 1):
    live.write(name, value + 1)
    os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONSAFEPATH": "1"}, check=False)
    assert LiveWeights.attach(arena, exclusive=False).fingerprint() != before
    again = LiveWeights.attach(arena)
    assert again.fingerprint() == before
    again.close()


@one_server
def test_another_process_prints_the_same_fingerprint(live: LiveWeights, server: Any) -> None:
    command = [sys.executable, "-m", "learner.live.fingerprint", str(server.arena)]
    told = run(command)
    assert told.stdout.strip() == live.fingerprint()
    none = run([*command[:-1], "/nonexistent"])
    assert (none.returncode, none.stdout) == (69, "")
    assert "no live weights here" in none.stderr


@one_server
def test_the_files_are_private(server: Any) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in Path(server.arena).iterdir()}
    assert Path(server.arena).stat().st_mode & 0o777 == 0o700
    assert set(modes.values()) == {0o600}
    assert {"rank0.bin", "rank0.json", "owner.lock"} <= set(modes)


def test_the_server_starts_on_its_durable_version(qwen35_server: Any) -> None:
    from safetensors.torch import load_file

    live = LiveWeights.attach(qwen35_server.arena, exclusive=False)
    base = load_file(qwen35_server.model_dir / "model.safetensors")
    changed = DeltaFile(qwen35_server.versions / "tiny.version", live.manifest.model_hash).shapes
    for name in live.names:
        value = base[name] * 1.25 if name in changed else base[name]
        assert torch.equal(live.read(name), value.to(live.dtype(name))), name
    assert {"model.norm.weight"} < set(changed)
