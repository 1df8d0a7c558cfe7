"""`steer extract`, `steer states` on a tiny model, and the arithmetic of `steer verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from learner.base_model import model_hash
from learner.model import load_model
from learner.probing.material import ProbeMaterial
from learner.steering.activations import residuals
from learner.steering.verification import fisher, general, led_elsewhere, rates
from learner.tokens import prompt_of
from learner.verbs import steering
from policies.errors import InputError
from store import state, versions
from store.database import open_store


@pytest.fixture
def used(home: Path, tmp_path: Path, model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder that served the tiny model once."""
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    store = open_store(home)
    base = versions.new_version(None, "base", first_step=None, last_step=None, file=None, fingerprint="f")
    with store.write() as connection:
        known = {"model_dir": str(model_dir), "model_hash": model_hash(model_dir), "model_name": "tiny"}
        state.put(connection, "serving", known | {"url": "http://127.0.0.1:1"})
        versions.add(connection, base)
    store.close()


def steer(*words: str) -> Any:
    done = CliRunner().invoke(steering.commands, [*words, "--json"], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.usefixtures("used")
def test_hidden_states_of_a_prompt_are_written_as_the_model_has_them(model_dir: Path, tmp_path: Path) -> None:
    told = steer("states", "What is rain?", "--layer", "1", "--out", str(tmp_path / "s.safetensors"))
    model, tokenizer = load_model(model_dir)
    ids = prompt_of(tokenizer, [{"role": "user", "content": "What is rain?"}], 4096).ids
    assert len(told["tokens"]) == len(ids)
    assert list(told["states"]) == ["residual.1"]
    with safe_open(tmp_path / "s.safetensors", "pt") as file:
        torch.testing.assert_close(file.get_tensor("residual.1"), residuals(model, ids)[1])
        assert file.metadata()["version"] == told["version"]
    steer("states", "What is rain?", "--out", str(tmp_path / "s.json"))
    states = json.loads((tmp_path / "s.json").read_text())["states"]
    assert torch.tensor(states["residual.0"]).shape == (len(ids), 64)


@pytest.mark.usefixtures("used")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("states", "hi", "--layer", "2"), "layers 0 to 1"),
        (("states", "hi", "--version", "nowhere"), "nowhere"),
        (("states", "hi", "--out", "states.txt"), "ends in .safetensors"),
        (("extract", "x", "--pairs", "nowhere.jsonl"), "cannot be read"),
    ],
)
def test_nonsense_is_refused(words: tuple[str, ...], says: str) -> None:
    with pytest.raises(InputError, match=says):
        steer(*words)


@pytest.mark.usefixtures("used")
def test_a_vector_is_extracted_of_a_file_and_says_how_it_was_chosen(tmp_path: Path) -> None:
    lines = [
        {"prompt": f"What is number {n}?", "followed": f"NUMBER {n} IS BIG", "ignored": f"Number {n} is big"}
        for n in range(6)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = steer("extract", "loud", "--pairs", "pairs.jsonl", "--check", "Write in capital letters.")
    assert made["pairs"] == 6
    assert made["judge"] == "code"
    assert 0 <= made["off"] <= made["on"] <= 1 or made["on"] >= made["off"]
    assert made["nll_ratio"] > 0
    assert [row["name"] for row in steer("list")] == ["loud"]


def test_rates_take_the_second_half_for_leak() -> None:
    prompts = ["a", "b"]
    assert led_elsewhere(prompts, ["Be kind."]) == ["a Be kind.", "b Be kind."]
    found = rates({"on": ["YES", "NO", "HUH", "quiet"], "off": ["x", "y", "z", "w"]}, str.isupper, 2)
    assert found == {"follow": {"on": 1.0, "off": 0.0}, "leak": {"on": 0.5, "off": 0.0}}


def test_general_text_and_facts_are_scored_under_each_trial(model_dir: Path) -> None:
    rows = torch.zeros(2, 64)
    rows[1] = 5 * torch.linspace(-1, 1, 64)
    material = ProbeMaterial(facts=(), texts=("The tide comes in twice a day.",), prompts=())
    facts = ProbeMaterial.model_validate(
        {"facts": [{"question": "What is one?", "answers": ["one"]}], "texts": material.texts, "prompts": ()}
    )
    found = general(*load_model(model_dir), facts, {"off": None, "on": rows})
    assert found["nll_ratio"]["off"] == 1.0
    assert found["nll_ratio"]["on"] != 1.0
    assert set(found["facts"]) == {"off", "on"}


def test_fisher_is_the_textbook_value() -> None:
    assert fisher(3, 1, 4) == pytest.approx(17 / 70)  # the lady tasting tea: 16 + 1 of 70
    assert fisher(0, 0, 5) == 1.0
