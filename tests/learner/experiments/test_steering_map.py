"""The steering experiment: its arithmetic on answers that are known, and the whole of it on a tiny model."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from small_system import make_model
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from learner.experiments import steering
from learner.experiments.behaviours import BEHAVIOURS, FEATURES
from learner.experiments.report import as_markdown, write
from learner.experiments.setting import Setting
from learner.experiments.steering_map import Cell, Map, Sizes, best_of, difference, gain_of
from policies.config import Config
from policies.errors import InputError

ANSWER = "Rain is water that falls from clouds. You are right to ask. It is good for plants."


def cell(layer: int, follow: float, nll_ratio: float) -> Cell:
    return Cell(layer=layer, scale=1.0, follow=follow, nll_ratio=nll_ratio)


def found(name: str, kind: str, rate: float, control: float, count: int = 40) -> Map:
    draw = random.Random(name)
    return Map(
        name=name,
        kind=kind,
        seed=0,
        cells=(cell(1, rate, 1.0),),
        best=cell(1, rate, 1.0),
        off=(0,) * count,
        on=tuple(int(draw.random() < rate) for _ in range(count)),
        random=tuple(float(draw.random() < control) for _ in range(count)),
        random_nll_ratio=1.0,
    )


@pytest.mark.parametrize("behaviour", [*FEATURES, *BEHAVIOURS], ids=lambda behaviour: behaviour.name)
def test_a_rewritten_answer_shows_its_behaviour_and_a_plain_one_does_not(behaviour: object) -> None:
    for number in range(10):
        assert behaviour.shows(behaviour.follow(ANSWER, number))  # type: ignore[attr-defined]
    assert not behaviour.shows(ANSWER)  # type: ignore[attr-defined]


def test_the_best_cell_shows_most_at_a_bounded_cost() -> None:
    cells = [cell(0, 0.5, 1.1), cell(1, 0.9, 1.6), cell(2, 0.7, 1.2), cell(3, 0.7, 1.05)]
    assert best_of(cells, 1.25).layer == 3
    assert best_of(cells, 2.0).layer == 1
    assert best_of(cells, 1.0).layer == 3, "none is allowed: the one that costs least"


def test_a_planted_gain_is_found_and_a_null_is_not() -> None:
    gain, (low, high) = gain_of([found("planted", "simple", 0.7, 0.1)])
    assert low > 0.3
    assert low <= gain <= high
    _, (low, high) = gain_of([found("null", "simple", 0.3, 0.3)])
    assert low <= 0 <= high


def test_the_difference_between_the_kinds_is_found_where_it_is() -> None:
    simple = [found(f"s{n}", "simple", 0.8, 0.0) for n in range(4)]
    hard = [found(f"c{n}", "complex", 0.1, 0.0) for n in range(4)]
    value, (low, high) = difference([*simple, *hard])
    assert low > 0.4
    assert low <= value <= high
    alike = [found(f"a{n}", "complex", 0.8, 0.0) for n in range(4)]
    _, (low, high) = difference([*simple, *alike])
    assert low <= 0 <= high


def test_few_behaviours_make_the_difference_uncertain() -> None:
    simple = [found("all", "simple", 1.0, 0.0), found("none", "simple", 0.0, 0.0)]
    hard = [found("little", "complex", 0.1, 0.0), found("nothing", "complex", 0.0, 0.0)]
    _, (low, _) = difference([*simple, *hard])
    assert low <= 0


def talking(folder: Path, tokenizer_of: Path) -> Path:
    """Write a random model that says something: with tied embeddings it only repeats its prompt's end."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=len(tokenizer), tie_word_embeddings=False))
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def setting(model: Path, folder: Path, told: list[str] | None = None) -> Setting:
    tell = [].append if told is None else told.append
    return Setting(str(model), (0,), True, Config(), folder, folder / "cache", tell=tell)


def test_a_model_that_answers_nothing_is_told(smollm2_path: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="answers none of 8 plain questions"):
        steering.run(setting(make_model(tmp_path / "model", smollm2_path), tmp_path))


def test_two_runs_with_one_seed_agree_and_the_report_is_whole(
    smollm2_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "QUICK", Sizes(4, (0.5,), (0.5, 2.0), 2, 3, 1, 4, 1))
    model = talking(tmp_path / "model", smollm2_path)
    told: list[str] = []
    first, second = (steering.run(setting(model, tmp_path, told)) for _ in range(2))
    assert len(told) == 2 * 6
    assert all("left: seed 0, " in line for line in told), "each says how long the rest takes"
    ours, theirs = first.model_dump(), second.model_dump()
    for told in (ours, theirs):
        del told["seconds"], told["commit"]
    assert ours == theirs
    assert ours["n"] == 6 * 3
    assert {one["kind"] for one in ours["data"]["maps"]} == {"simple", "complex"}
    assert all(len(one["cells"]) == 2 for one in ours["data"]["maps"])
    write(first, steering.PICTURES, tmp_path / "report")
    for name in ("heat", "cost", "rates"):
        assert (tmp_path / "report" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert "capitals" in as_markdown(first, ("heat",))
