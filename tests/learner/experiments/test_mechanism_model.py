"""The parts of `mechanisms` on a tiny hybrid model: the same code, seconds instead of minutes."""

from pathlib import Path

import pytest
import torch

from learner.experiments import material
from learner.experiments.course import Models
from learner.experiments.directions import LOWERCASE
from learner.experiments.mechanism.attention import Read, items_of, mass, reads_of
from learner.experiments.mechanism.noise import disturbed, rises
from learner.experiments.mechanism.recipes import Recipe, recipes_for
from learner.experiments.mechanism.training import Material, Trained, train
from learner.experiments.mechanism.update import numbers_of
from learner.model import load_model
from policies.config import TrainingConfig
from policies.example import Example

CONFIG = TrainingConfig(uses_per_example=2, max_decision_tokens=8, max_replay_tokens=4, rank=8)


@pytest.fixture(scope="module")
def models(tiny_qwen35_path: Path) -> Models:
    base, tokenizer = load_model(tiny_qwen35_path, torch.float32)
    return Models(load_model(tiny_qwen35_path, torch.float32)[0], base, tokenizer)


@pytest.fixture(scope="module")
def taught() -> Material:
    corrections = [
        example.model_copy(update={"chosen": "a small thing.", "rejected": "A small thing."})
        for *_, example in material.drawn([LOWERCASE], 4, 0)
    ]
    pool = tuple(
        Example(id=f"g{i}", kind="general", context=item.messages, chosen="It is so.", origin="base")
        for i, item in enumerate(material.plain(material.REHEARSED[:8]))
    )
    return Material(tuple(corrections), {"general": pool, "log": pool[::-1]}, 0)


def weights(models: Models) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in models.model.named_parameters()}


def trained(models: Models, taught: Material, recipe: Recipe) -> Trained:
    return train(models, recipe, taught, CONFIG)


def moved(models: Models) -> set[str]:
    base = dict(models.base.named_parameters())
    return {name for name, p in models.model.named_parameters() if not torch.equal(p, base[name])}


def test_one_seed_trains_the_same_weights_twice(models: Models, taught: Material) -> None:
    first = trained(models, taught, Recipe("all"))
    kept = weights(models)
    again = trained(models, taught, Recipe("all"))
    assert first.losses == again.losses
    assert all(torch.equal(value, kept[name]) for name, value in weights(models).items())


@pytest.mark.parametrize(
    ("which", "only"), [("queries", ".q_proj."), ("mlp", ".mlp."), ("gates", ".linear_attn.")]
)
def test_a_part_learns_and_the_rest_stays(models: Models, taught: Material, which: str, only: str) -> None:
    recipe = next(r for r in recipes_for(models.model, quick=True) if r.name == which)
    trained(models, taught, recipe)
    assert moved(models)
    assert all(only in name for name in moved(models))


def test_gates_are_no_recipe_of_a_model_without_them(models: Models, smollm2_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(smollm2_path)
    config.num_hidden_layers = 1
    with torch.device("meta"):
        plain = AutoModelForCausalLM.from_config(config)
    names = [{recipe.name for recipe in recipes_for(model, quick=True)} for model in (models.model, plain)]
    assert names[0] - names[1] == {"gates"}


def test_adamw_takes_adams_first_step(models: Models, taught: Material) -> None:
    found = train(models, Recipe("adamw", optimizer="adamw"), taught, CONFIG, steps=1)
    rate = CONFIG.learning_rate * min(1, 8 / CONFIG.full_rate_uses) / CONFIG.warmup_steps
    for update in found.updates().values():
        moved = update[update.abs() > 0.5 * rate]
        assert moved.numel() == 0 or moved.abs().max().item() == pytest.approx(rate, rel=0.01)
    assert max(update.abs().max().item() for update in found.updates().values()) > 0.9 * rate


def test_updates_are_exact_and_changed_values_are_those_of_bf16(models: Models, taught: Material) -> None:
    found = trained(models, taught, Recipe("all"))
    base = dict(models.base.named_parameters())
    numbers = numbers_of(found.updates(), found.trainer.parameters, base, frozenset("0"))
    assert all(0 < n["top"] <= 1 and 0 < n["changed"] <= 1 for n in numbers)
    assert {n["layer"] for n in numbers if n["rank"] is not None} == {"0"}
    live = {name: (p - base[name]).abs() for name, p in found.trainer.parameters.items()}
    exact = found.updates()
    assert any(not torch.equal(exact[name].abs(), live[name]) for name in live)


@pytest.fixture(scope="module")
def reads(models: Models) -> list[Read]:
    items = items_of(LOWERCASE, 4)
    return reads_of(models.tokenizer, items, ["Water is wet. It flows."] * 4)


def test_the_parts_of_a_prompt_are_where_their_words_are(models: Models, reads: list[Read]) -> None:
    for read, item in zip(reads, items_of(LOWERCASE, 4), strict=True):
        words = {p: models.tokenizer.decode([read.ids[i] for i in where]) for p, where in read.parts.items()}
        assert words["direction"].strip() == LOWERCASE.unseen[0]
        assert words["question"].strip() == item.question
        assert words["answer"].startswith("water is wet.")
        assert sorted(i for where in read.parts.values() for i in where) == list(range(len(read.ids)))


def test_attention_adds_up_and_the_model_is_left_as_it_was(models: Models, reads: list[Read]) -> None:
    kind = models.model.config._attn_implementation
    found = mass(models.model, reads)
    assert models.model.config._attn_implementation == kind
    for prompt in found:
        assert sum(layers[0] for layers in prompt.values()) == pytest.approx(1.0, abs=1e-4)
        assert {len(layers) for layers in prompt.values()} == {1}  # one of four layers has softmax attention


def test_a_model_that_looks_at_the_direction_is_found_out(models: Models, reads: list[Read]) -> None:
    models.reset()
    name = next(n for n, _ in models.model.named_parameters() if n.endswith("k_proj.weight"))
    before = mass(models.model, reads)
    with torch.no_grad():
        models.model.get_parameter(name).zero_()  # every token is looked at alike
    after = mass(models.model, reads)
    models.reset()
    for read, flat in zip(reads, after, strict=True):
        seen = [range(place + 1) for place in read.writing]
        share = sum(len(set(s) & set(read.parts["direction"])) / len(s) for s in seen) / len(seen)
        assert flat["direction"][0] == pytest.approx(share, rel=1e-3)
    assert before != after


def test_noise_is_taken_back_bit_for_bit_and_is_the_same_each_time(models: Models, taught: Material) -> None:
    found = trained(models, taught, Recipe("all"))
    before = weights(models)
    with disturbed(models.model, models.base, 0.1, "0"):
        noisy = weights(models)
    assert all(torch.equal(value, before[name]) for name, value in weights(models).items())
    name = next(n for n in found.trainer.parameters if n.endswith("q_proj.weight"))
    size = dict(models.base.named_parameters())[name].square().mean().sqrt()
    assert ((noisy[name] - before[name]).std() / size).item() == pytest.approx(0.1, rel=0.05)
    rows = found.corrected()
    one, two = (rises(models.model, models.base, rows, (0.1, 0.5), 2) for _ in range(2))
    assert one == two
    assert len(one["rises"]["0.5"]) == 2
    assert len(one["losses"]) == len(rows)
