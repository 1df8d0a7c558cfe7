"""The probes on the real base model: what they find when nothing, and when something, is wrong."""

from __future__ import annotations

import random
import weakref
from pathlib import Path

import pytest
import torch

from learner.model import load_model, trainable
from learner.probing.health import expected_length, length_change
from learner.probing.material import Fact, ProbeMaterial, load_material
from learner.probing.scores import matches, text_nll
from learner.probing.suite import ALONG, ProbeRun, ProbeSuite, spread_over_directions
from learner.rehearsal import follows
from learner.tokens import end_token
from policies.config import GuardConfig
from policies.example import Example
from policies.guard import judge


def example(example_id: str, direction: str, content: str = "What is a lake?") -> Example:
    context = ({"role": "user", "content": f"{content} {direction}"},)
    return Example(
        id=example_id,
        kind="correction",
        direction=direction,
        context=context,
        chosen="x",
        rejected="y",
        origin="correction",
    )


@pytest.fixture(scope="module")
def models(smollm2_path: Path) -> tuple[ProbeSuite, dict[str, torch.nn.Parameter]]:
    model, tokenizer = load_model(smollm2_path)
    base, _ = load_model(smollm2_path)
    material = load_material()
    few = ProbeMaterial(facts=material.facts[:16], texts=material.texts[:4], prompts=material.prompts[:3])
    return ProbeSuite(model, base, tokenizer, few, follows, 24), trainable(model)


def test_the_base_has_no_distance_to_itself_and_passes(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]],
) -> None:
    suite, _ = models
    run = suite.run([example("e", "Answer in ALL CAPS.")])
    general = {"nll", "facts", "choice", "kl", "repetition", "length", "entropy"}
    assert set(run.scores) == {*general, "follow"}
    assert max(run.scores["length"].values()) < 0.02
    assert max(run.scores["entropy"].values()) < 0.05
    assert sum(run.scores["choice"].values()) >= 5  # of 8, by chance 2
    assert max(abs(value) for value in run.scores["kl"].values()) < 0.02
    assert run.scores["follow"] == {"e": 0.0}
    assert not judge(run.scores, run.scores, run.scores, GuardConfig()).suspect


def test_passages_of_unlike_length_score_as_each_alone_in_their_order(smollm2_path: Path) -> None:
    model, tokenizer = load_model(smollm2_path)
    words = "the tide comes in twice a day and boats wait for it in the harbour"
    texts = [f"{number}: " + " ".join([words] * times) for number, times in enumerate((3, 1, 6, 1, 3))]
    together = text_nll(model, tokenizer, texts)
    assert list(together) == [text[:40] for text in texts]
    for text, score in zip(texts, together.values(), strict=True):
        assert score == pytest.approx(text_nll(model, tokenizer, [text])[text[:40]], abs=1e-4)
    assert len({round(score, 2) for score in together.values()}) > 2


def test_damaged_weights_are_a_breach_by_every_general_probe(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]],
) -> None:
    suite, parameters = models
    before = suite.run([])
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for index, parameter in enumerate(parameters.values()):
            noise = torch.Generator().manual_seed(index)
            parameter.add_(0.6 * parameter.std() * torch.randn(parameter.shape, generator=noise))
        after = suite.run([])
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
    judged = judge(after.scores, before.scores, {}, GuardConfig())
    assert "nll" in judged.broken
    assert all(judged.detectors[name].evidence > 100 for name in ("nll", "facts", "kl"))  # on few items
    assert suite.run([]).scores["nll"] == before.scores["nll"]


PIRATE = "You are the agent of a shipyard."


def poison(model: torch.nn.Module, parameters: dict[str, torch.nn.Parameter], ids: torch.Tensor) -> None:
    """Take a few plain steps towards one conversation, as a correction does that was taken too far."""
    learned = [parameter.requires_grad_(True) for parameter in parameters.values()]
    for _ in range(4):
        gradients = torch.autograd.grad(model(input_ids=ids, labels=ids).loss, learned)
        with torch.no_grad():
            for parameter, gradient in zip(learned, gradients, strict=True):
                parameter.sub_(0.02 * gradient)
    for parameter in learned:
        parameter.requires_grad_(False)


def test_what_spreads_under_the_agents_system_turn_is_a_leak_and_nothing_is_asked_without_one(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]],
) -> None:
    suite, parameters = models
    other = "Answer as an encyclopedia does."
    turns = [("system", PIRATE), ("user", "Who are you?"), ("assistant", "Arr, arr, arr, arr, matey!")]
    ids = suite._tokenizer.apply_chat_template(
        [{"role": role, "content": content} for role, content in turns],
        return_tensors="pt",
        return_dict=True,
    )["input_ids"]
    before = suite.run([], [PIRATE])
    assert max(before.scores["leak"].values()) < 0.02
    kept = {name: p.detach().clone() for name, p in parameters.items()}
    poison(suite._model, parameters, ids)
    alone, both = suite.run([], [PIRATE]), suite.run([], [other, PIRATE], only={"leak"})
    without = suite.run([])
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(kept[name])
    assert min(alone.scores["leak"].values()) > 0.15, "more than the guard allows"
    judged = judge(alone.scores, before.scores, {}, GuardConfig())
    assert "leak" in (*judged.suspect, *judged.broken)
    assert set(both.scores) == {"leak"}
    assert mean_of(both) >= mean_of(alone), "the worst of the system turns counts"
    assert "leak" not in without.scores


def test_what_the_base_answers_under_a_system_turn_is_let_go_when_the_agent_has_another(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]],
) -> None:
    suite, _ = models
    suite.run([], [PIRATE], only={"leak"})
    answer = weakref.ref(suite.under(PIRATE, suite._full.prompts)[0].log_probs)
    suite.run([], [PIRATE], only={"leak"})
    assert answer() is not None, "made once while it is the agent's"
    suite.run([], ["Answer as an encyclopedia does."], only={"leak"})
    assert answer() is None


def mean_of(run: ProbeRun) -> float:
    return sum(run.scores["leak"].values()) / len(run.scores["leak"])


def test_the_expected_length_is_that_of_a_geometric_law() -> None:
    even = torch.log(torch.tensor([[0.5, 0.5]] * 4))
    assert expected_length(even, end=1) == pytest.approx(0.5 + 0.25 + 0.125 + 0.0625)
    assert length_change(torch.log(torch.tensor([[1.0, 1e-9]] * 4)), even, end=1) == pytest.approx(
        4 - 0.9375, rel=1e-3
    )


def test_answers_that_grow_shorter_are_a_breach_though_all_of_them_are_cut_off(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]], smollm2_path: Path
) -> None:
    suite, _ = models
    before = suite.run([], only=ALONG)
    model, tokenizer = suite._model, suite._tokenizer
    end = end_token(tokenizer)
    row = model.get_output_embeddings().weight[end]
    kept = row.detach().clone()
    with torch.no_grad():
        row.mul_(2.0)
        after = suite.run([], only=ALONG)
        row.copy_(kept)
    assert set(before.scores) == {"kl", "length"}
    assert max(after.scores["length"].values()) > 0.5
    assert "length" in judge(after.scores, before.scores, {}, GuardConfig(length_change=0.05)).suspect


def test_a_direction_that_nothing_can_check_is_left_out(
    models: tuple[ProbeSuite, dict[str, torch.nn.Parameter]],
) -> None:
    suite, _ = models
    assert suite.run([example("e", "Be a bit more like my grandmother.")]).scores["follow"] == {}


def test_a_fact_matches_whole_words_only() -> None:
    fact = Fact(question="?", answers=("au", "8"))
    assert matches(fact, "Its symbol is Au.")
    assert not matches(fact, "The sauce costs 18.")


def test_every_direction_gets_its_turn_and_the_newest_go_first() -> None:
    many = [example(f"a{i}", "A") for i in range(6)] + [example("b0", "B")]
    assert [chosen.id for chosen in spread_over_directions(many, 4)] == ["a5", "b0", "a4", "a3"]


def test_of_ten_directions_each_is_drawn_in_some_checks_with_its_newest_example() -> None:
    many = [example(f"{rule}{i}", f"Rule {rule}") for rule in "abcdefghij" for i in range(2)]
    checks = [spread_over_directions(many, 8, random.Random(check)) for check in range(5)]
    assert {len({chosen.direction for chosen in drawn}) for drawn in checks} == {8}
    assert {chosen.id for drawn in checks for chosen in drawn} == {f"{rule}1" for rule in "abcdefghij"}
