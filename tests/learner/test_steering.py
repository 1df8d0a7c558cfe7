"""Steering on a tiny model: contrast, choice, hooks, files, against independent arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from steering_vectors import steering_vector
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen3_5ForCausalLM, Qwen3_5TextConfig

from learner import attention
from learner.live.steering import decoder_layers, silence
from learner.steering import extraction
from learner.steering.activations import recurrent_states, residuals, steered
from learner.steering.extraction import AnswerStates, Directions, answer_states, find_directions, random_rows
from learner.steering.file import Steering
from learner.steering.pairs import PairIds, from_corrections, from_file
from learner.steering.reader import Reader
from learner.tokens import Row
from policies.errors import InputError
from policies.example import Example

LAYERS, WIDTH = 6, 32
_SIZES = {"vocab_size": 96, "hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 4}


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = LlamaForCausalLM(
            LlamaConfig(**_SIZES, num_hidden_layers=LAYERS, num_key_value_heads=2, initializer_range=0.2)
        )
    return made.eval().requires_grad_(False)


def make_hybrid() -> PreTrainedModel:
    config = Qwen3_5TextConfig(
        **_SIZES,
        num_hidden_layers=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=16,
        linear_value_head_dim=16,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Qwen3_5ForCausalLM(config).eval().requires_grad_(False)


def pairs(count: int) -> list[PairIds]:
    drawn = np.random.default_rng(1)
    draw = lambda low, high, n: tuple(int(i) for i in drawn.integers(low, high, n))  # noqa: E731
    return [PairIds(draw(0, 96, 5), draw(0, 20, 6), draw(60, 96, 6)) for _ in range(count)]


def test_residuals_are_those_that_transformers_calls_hidden_states(model: PreTrainedModel) -> None:
    ids = [3, 14, 15, 92, 65]
    ours = residuals(model, ids)
    theirs = model.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    assert ours.shape == (LAYERS, 5, WIDTH)
    for layer in range(LAYERS - 1):
        torch.testing.assert_close(ours[layer], theirs[layer + 1][0])
    torch.testing.assert_close(model.model.norm(ours[-1]), theirs[-1][0])  # theirs is after the norm


def test_a_vector_at_a_layer_is_added_to_its_residual_and_gone_afterwards(model: PreTrainedModel) -> None:
    ids, rows = [3, 14, 15], torch.zeros(LAYERS, WIDTH)
    rows[2] = torch.linspace(-1, 1, WIDTH)
    before = residuals(model, ids)
    with steered(model, rows):
        during = residuals(model, ids)
    torch.testing.assert_close(during[1], before[1])
    torch.testing.assert_close(during[2], before[2] + rows[2])
    assert not torch.allclose(during[3], before[3] + rows[2])
    assert torch.equal(residuals(model, ids), before)
    with pytest.raises(InputError, match="is not \\(layers, width\\)"), steered(model, rows[:3]):
        pass


@pytest.mark.parametrize("kind", ["eager mask", "run by run", "hybrid"])
@pytest.mark.parametrize("at_once", [2048, 60])
def test_directions_are_the_mean_difference_and_the_first_component(
    model: PreTrainedModel, kind: str, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "AT_ONCE", at_once)
    asked = make_hybrid() if kind == "hybrid" else model
    if kind == "run by run":
        monkeypatch.setattr(asked.config, "_attn_implementation", attention.NAME)
    begun = tuple(range(30, 50))  # what is read once for all
    given = [PairIds(begun + pair.prompt, pair.followed, pair.ignored[n:]) for n, pair in enumerate(pairs(5))]
    found = find_directions(asked, given)
    differences = []
    for pair in given:
        means = []
        for answer in (pair.followed, pair.ignored):
            states = asked.model(torch.tensor([[*pair.prompt, *answer]]), output_hidden_states=True)
            at = states.hidden_states[3][0].double().numpy()  # after layer 2
            means.append(at[len(pair.prompt) - 1 : -1].mean(0))
        differences.append(means[0] - means[1])
    stack = np.stack(differences)
    np.testing.assert_allclose(found.mean[2], stack.mean(0), rtol=1e-3, atol=1e-5)
    component = np.linalg.svd(stack)[2][0]
    component *= np.sign(component @ stack.mean(0)) * np.linalg.norm(stack.mean(0))
    np.testing.assert_allclose(found.pca[2], component, rtol=1e-2, atol=1e-4)


def test_no_more_tokens_are_read_together_than_are_allowed(
    model: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, reading = [], extraction.branch_states

    def counted(model: PreTrainedModel, rows: list[Row]) -> Iterator[Any]:
        read.append(sum(len(row.context) + len(row.lead) + len(row.answer) for row in rows))
        return reading(model, rows)

    monkeypatch.setattr(extraction, "branch_states", counted)
    monkeypatch.setattr(extraction, "AT_ONCE", 40)
    answer_states(model, [*pairs(5), PairIds(tuple(range(50)), (1,), (2,))])
    assert sum(read) == 5 * 2 * 11 + 2 * 51
    assert read == [33, 33, 33, 11, 51, 51], "one that is longer stands alone"


def test_a_random_vector_has_the_norm_and_the_layer_of_the_one_it_stands_against() -> None:
    rows = torch.zeros(LAYERS, WIDTH)
    rows[2] = torch.linspace(-1, 1, WIDTH)
    noise = random_rows(rows, 0)
    torch.testing.assert_close(noise.norm(dim=-1), rows.norm(dim=-1))
    assert not noise[[n for n in range(LAYERS) if n != 2]].any()
    assert abs(torch.cosine_similarity(noise[2], rows[2], 0)) < 0.5


def test_sequences_of_a_batch_are_steered_each_by_its_own_rows(model: PreTrainedModel) -> None:
    ids = torch.tensor([[3, 14, 15], [3, 14, 15], [3, 14, 15]])
    drawn = torch.Generator().manual_seed(0)
    rows = torch.randn(3, LAYERS, WIDTH, generator=drawn)
    rows[1] = 0
    with steered(model, rows):
        together = model(ids).logits
    for number in range(3):
        with steered(model, rows[number]):
            torch.testing.assert_close(together[number], model(ids[:1]).logits[0])
    torch.testing.assert_close(together[1], model(ids[:1]).logits[0])


def test_a_reader_tells_answers_apart_as_the_pairs_are_and_refuses_noise(model: PreTrainedModel) -> None:
    given = [PairIds(pair.prompt, (7,) * 12, (90,) * 12) for pair in pairs(8)]
    reader = Reader(model, answer_states(model, given[:6]))
    assert reader.accuracy == 1.0
    for pair in given[6:]:
        assert reader.shows(pair.prompt, pair.followed)
        assert not reader.shows(pair.prompt, pair.ignored)
    assert not reader.shows(given[0].prompt, ())
    noise = torch.randn(2, 1, 8, WIDTH, generator=torch.Generator().manual_seed(1))
    with pytest.raises(InputError, match="cannot be told apart"):
        Reader(model, AnswerStates(noise[0], noise[1]))


def test_silence_changes_no_number_not_even_a_negative_zero() -> None:
    buffer = torch.ones(2, 4, dtype=torch.bfloat16)
    silence(buffer)
    values = torch.tensor([0.0, -0.0, float("inf"), 1e-40], dtype=torch.bfloat16)
    summed = values + buffer[0]
    assert torch.equal(summed.view(torch.int16), values.view(torch.int16))
    assert not torch.equal((values + 0.0).view(torch.int16), values.view(torch.int16))


def test_layers_of_other_towers_are_no_decoder_layers() -> None:
    made = torch.nn.ModuleDict(
        {
            "visual": torch.nn.ModuleDict(
                {"layers": torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(3)])}
            ),
            "model": torch.nn.ModuleDict(
                {"layers": torch.nn.ModuleList([torch.nn.Linear(1, 1) for _ in range(2)])}
            ),
        }
    )
    assert sorted(decoder_layers(made)) == [0, 1]


def test_recurrent_states_are_read_of_gated_delta_layers_only(model: PreTrainedModel) -> None:
    hybrid = make_hybrid()
    found = recurrent_states(hybrid, [1, 2, 3])
    assert sorted(found) == [0, 1, 2]
    assert found[0]["recurrent"].shape == (4, 16, 16)
    assert recurrent_states(model, [1, 2, 3]) == {}


def test_a_vector_is_kept_and_given_back_and_nonsense_is_refused(tmp_path: Path) -> None:
    rows = torch.randn(LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))
    vector = steering_vector(name="loud", method="pca", layer=2, strength=0.5, off=0.1, on=0.2, pairs=4)
    steering = Steering(tmp_path, "h")
    steering.keep(vector, Directions(-rows, rows))
    assert steering.open("loud") == vector
    torch.testing.assert_close(steering.rows("loud", 2.0)[2], rows[2])
    torch.testing.assert_close(steering.rows("loud", 2.0, 5)[5], rows[5])
    with pytest.raises(InputError, match="layer 6 is out of range"):
        steering.rows("loud", 1.0, 6)
    with pytest.raises(InputError, match="there are: loud"):
        steering.rows("quiet")
    with pytest.raises(InputError, match="another base model"):
        Steering(tmp_path, "other").open("loud")
    with pytest.raises(InputError, match="not finite"):
        steering.keep(vector, Directions(rows * float("nan"), rows))


def test_a_vector_made_anew_leaves_the_one_before_under_its_id(tmp_path: Path) -> None:
    rows = torch.randn(LAYERS, WIDTH, generator=torch.Generator().manual_seed(0))
    steering, vector = Steering(tmp_path, "h"), steering_vector(name="loud", layer=2)
    first = steering.keep(vector, Directions(rows, rows.clone()))
    second = steering.keep(steering_vector(name="loud", layer=3), Directions(2 * rows, rows.clone()))
    assert steering.names() == ["loud"]
    assert steering.id_of("loud") == second
    assert [steering.open("loud", one).layer for one in (first, second, None)] == [2, 3, 3]
    assert torch.equal(steering.rows("loud", 1.0, None, first)[2], rows[2])
    assert torch.equal(steering.rows("loud", 1.0, None, second)[3], 2 * rows[3])
    earlier = next((tmp_path / "steering" / "earlier").iterdir())
    earlier.write_bytes(earlier.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=f"{first} is gone, or damaged"):
        steering.rows("loud", 1.0, None, first)


def test_a_file_that_names_one_direction_is_still_read() -> None:
    assert steering_vector(direction="Write in lowercase.").directions == ("Write in lowercase.",)
    assert steering_vector(direction=None).directions == ()


def correction(number: int, direction: str, rejected: str | None = "Hello") -> Example:
    question = {"role": "user", "content": f"Say {number}"}
    return Example(
        id=str(number),
        kind="correction",
        direction=direction,
        context=({"role": "system", "content": direction}, question),
        twin_context=(question,),
        chosen=f"hello {number}",
        rejected=rejected,
        origin="correction",
    )


def test_a_text_finds_every_wording_and_a_whole_direction_only_itself() -> None:
    wordings = ["Use lowercase letters.", "lowercase", "Use lowercase letters.", "Be brief."]
    given = [correction(n, wordings[n % 4]) for n in range(12)]
    found, directions = from_corrections("LOWERcase l", given)
    assert directions == ("Use lowercase letters.",)
    assert [pair.followed for pair in found] == [f"hello {n}" for n in range(12) if n % 2 == 0]
    assert from_corrections("case", given)[1] == ("Use lowercase letters.", "lowercase")
    assert from_corrections(" Lowercase ", given)[1] == ("lowercase",)


def test_what_is_lacking_of_corrections_is_named() -> None:
    given = [correction(n, "Be brief.", "Hello" if n < 2 else None) for n in range(5)]
    with pytest.raises(InputError, match=r"'sing' in it \(there are: 'Be brief.'\)"):
        from_corrections("sing", given)
    with pytest.raises(InputError, match=r"'brief' \(3 of 5 .* have no rejected answer\): 2 c"):
        from_corrections("brief", given)


def test_pairs_of_a_file_are_read_and_a_bad_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "Hi", "followed": "HELLO", "ignored": "hello"}\n\n')
    assert from_file(path)[0].messages == ({"role": "user", "content": "Hi"},)
    path.write_text('{"prompt": "Hi", "followed": "HELLO"}\n')
    with pytest.raises(InputError, match=r"pairs\.jsonl:1"):
        from_file(path)
