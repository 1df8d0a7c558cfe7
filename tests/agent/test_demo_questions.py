"""The demo's questions: no pool shares one with another, and what is held out is unseen in training."""

import itertools
import re
from importlib.resources import files

import pytest

from agent.demo.material import Material, load_material
from learner.probing.material import load_material as load_probes


def normal(text: str) -> str:
    """Return the words of a text, lower case, without punctuation."""
    return " ".join(re.findall(r"[a-z0-9]+", text.lower()))


@pytest.fixture(scope="module")
def material() -> Material:
    """Return the demo's texts as they ship."""
    return load_material()


@pytest.fixture(scope="module")
def pools(material: Material) -> dict[str, list[str]]:
    """Return every pool of plain questions of the product, by name."""
    probes = load_probes()
    return {
        "train": list(material.train),
        "held_out": list(material.held_out),
        "load": list(material.load),
        "poison": list(material.poison),
        "replay prompts": files("learner").joinpath("replay_prompts.txt").read_text().splitlines(),
        "probe prompts": list(probes.prompts),
        "facts": [fact.question for fact in probes.facts],
        "passages": list(probes.texts),
    }


def test_pools_have_the_sizes_the_demo_needs(pools: dict[str, list[str]]) -> None:
    sizes = {name: len(pool) for name, pool in pools.items()}
    assert (sizes["train"], sizes["held_out"], sizes["replay prompts"]) == (110, 40, 89)
    assert sizes["load"] >= 40
    assert sizes["poison"] >= 8


def test_no_question_is_in_two_pools_or_twice_in_one(pools: dict[str, list[str]]) -> None:
    for name, pool in pools.items():
        words = [normal(question) for question in pool]
        assert all(words), f"{name} has an empty question"
        assert len(set(words)) == len(words), f"{name} repeats a question"
    for (one, first), (other, second) in itertools.combinations(pools.items(), 2):
        shared = {normal(q) for q in first} & {normal(q) for q in second}
        assert not shared, f"{one} and {other} share {shared}"


def test_a_passage_of_the_probe_holds_no_question(pools: dict[str, list[str]]) -> None:
    passages = " | ".join(normal(text) for text in pools["passages"])
    questions = itertools.chain.from_iterable(pool for name, pool in pools.items() if name != "passages")
    assert not [question for question in questions if normal(question) in passages]


def test_held_out_keys_occur_nowhere_in_training(material: Material) -> None:
    forms = material.direction
    seen = normal(" ".join([*forms.paraphrases_train, *forms.keys_train, *material.train])).split()
    assert len(set(forms.keys_held_out)) == len(forms.keys_held_out) == 3
    assert not set(forms.keys_held_out) & set(seen)
    assert not set(forms.keys_held_out) & set(forms.keys_train)


def test_held_out_wording_is_none_of_the_training_wordings(material: Material) -> None:
    forms = material.direction
    held_out = normal(forms.paraphrase_held_out)
    assert held_out not in {normal(wording) for wording in forms.paraphrases_train}
    assert not any(held_out in normal(wording) for wording in forms.paraphrases_train)


def test_every_wording_names_the_key_and_json_once(material: Material) -> None:
    forms = material.direction
    wordings = [*forms.paraphrases_train, forms.paraphrase_held_out]
    assert len(wordings) == 4
    for wording in wordings:
        assert wording.count("{key}") == 1
        assert "JSON" in wording
        assert "{" not in wording.replace("{key}", "").replace('{"": "..."}', "")
