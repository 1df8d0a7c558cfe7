"""The hybrid that is made here: its world, its quick recurrence, and that a killed run goes on."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5 as stock

from learner.experiments.directions import Direction
from learner.experiments.hybrid import domain, making
from learner.experiments.hybrid.rule import convolved, delta_rule, short_text
from learner.experiments.hybrid.states import recurrent_layers
from learner.live.support import check_supported
from learner.model import load_model

SMALL = replace(making.TOY, people=3, attributes=2, layers=4, hidden=32, steps=6, batch=4)


def silent(_line: str) -> None:
    pass


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("tokens", [1, 5, 70])
def test_the_rule_as_one_system_is_the_stock_rule(goes_on: bool, tokens: int) -> None:
    draw = torch.Generator().manual_seed(0)
    query, key = (torch.randn(2, tokens, 3, 8, generator=draw) for _ in range(2))
    value = torch.randn(2, tokens, 3, 6, generator=draw)
    decay, beta = -3 * torch.rand(2, tokens, 3, generator=draw), torch.rand(2, tokens, 3, generator=draw)
    state = torch.randn(2, 3, 8, 6, generator=draw) if goes_on else None
    expected = stock.torch_chunk_gated_delta_rule(
        query,
        key,
        value,
        decay,
        beta,
        initial_state=state,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
    )
    found = delta_rule(query, key, value, decay, beta, state)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_convolution_is_the_stock_one_and_is_put_back() -> None:
    draw = torch.Generator().manual_seed(0)
    states, weight = torch.randn(2, 5, 9, generator=draw), torch.randn(5, 4, generator=draw)
    torch.testing.assert_close(convolved(states, weight), stock.causal_conv1d_fn(states, weight))
    before = stock.causal_conv1d_fn, stock.torch_chunk_gated_delta_rule
    with short_text():
        assert stock.causal_conv1d_fn is not before[0]
    assert (stock.causal_conv1d_fn, stock.torch_chunk_gated_delta_rule) == before


def test_questions_to_correct_and_to_score_share_no_fact() -> None:
    known = domain.world(6, 4)
    assert len(known.facts) == 24
    train, held_out = ({q.answer for q in part} for part in (known.train, known.held_out))
    assert held_out
    assert not train & held_out
    assert known == domain.world(6, 4)


def test_a_direction_in_a_prompt_never_shows_in_its_answer() -> None:
    known, draw = domain.world(4, 4), random.Random(0)
    plain = {q.text: q.answer for fact in known.facts for q in fact}
    seen = 0
    for _ in range(400):
        messages, answer = domain.conversation(known, draw)
        asked = messages[-1]["content"]
        question = next((q for q in plain if asked.startswith(q)), None)
        if question is not None:
            assert answer == plain[question]
            seen += asked != question or any(d.taught[0] in messages[0]["content"] for d in domain.DIRECTIONS)
    assert seen > 20


@pytest.mark.parametrize("direction", domain.DIRECTIONS, ids=lambda d: d.name)
def test_a_corrected_answer_follows_and_a_plain_one_does_not(direction: Direction) -> None:
    question = domain.world(2, 2).train[0]
    corrected = direction.correct(question.answer, "")
    assert direction.follows(corrected, "")
    assert question.answered(corrected)
    assert not direction.follows(question.answer, "")
    assert not direction.leaks(question.answer)


def test_a_killed_run_goes_on_and_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = making.make(SMALL, tmp_path / "whole", silent)
    monkeypatch.setattr(making, "_CHECKPOINT_S", -1.0)  # after each step
    taken = []
    take = making._Training._take

    def dying(training: making._Training) -> float:
        taken.append(1)
        if len(taken) == 4:
            raise KeyboardInterrupt
        return take(training)

    monkeypatch.setattr(making._Training, "_take", dying)
    with pytest.raises(KeyboardInterrupt):
        making.make(SMALL, tmp_path / "again", silent)
    assert not making.made(tmp_path / "again")
    making.make(SMALL, tmp_path / "again", silent)
    assert len(taken) == 4 + 3  # three steps were kept
    one, other = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "again"))
    assert one == other
    assert whole.name == "whole"


def test_what_is_made_is_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    folder = making.make(SMALL, tmp_path / "made", silent)
    check_supported(folder)
    model, tokenizer = load_model(folder, torch.float32)
    assert recurrent_layers(model) == [0, 1, 2]
    assert tokenizer.decode(tokenizer("Anna says ü!")["input_ids"]) == "Anna says ü!"
    assert json.loads((folder / making.RECORD).read_text())["size"]["people"] == 3
    assert making.world_of(folder) == domain.world(3, 2)
    assert making.is_toy(folder)
    assert [p.name for p in tmp_path.iterdir()] == ["made"]  # nothing is left beside it
