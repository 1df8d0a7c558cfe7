"""What the baseline that keeps corrections in the prompt keeps there."""

from __future__ import annotations

from benchmarks.learning.recipes import SHOTS, in_prompt
from learner.experiments import material
from learner.experiments.directions import FIVE


def test_under_a_direction_its_own_last_corrections_stand_in_the_prompt() -> None:
    made = material.drawn(FIVE, 20, seed=0)
    corrections = [example.model_copy(update={"chosen": d.name}) for d, _, _, example in made]
    kept = in_prompt(FIVE, corrections)
    for direction in FIVE:
        asked, answers = kept.shots_of[direction.name][::2], kept.shots_of[direction.name][1::2]
        assert [turn["content"] for turn in answers] == [direction.name] * SHOTS
        own = [example for d, _, _, example in made if d == direction]
        for turn, example in zip(asked, own[-SHOTS:], strict=True):
            assert str(example.direction) in str(turn["content"])
    assert [turn["content"] for turn in kept.shots[1::2]] == [d.name for d in FIVE[-SHOTS:]]
