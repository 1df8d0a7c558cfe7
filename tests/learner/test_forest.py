"""Runs that branch off one another, and who sees whom."""

import torch

from learner.forest import Run, plant, positions, roots, visible

TRUNK = tuple(range(100, 160))


def spell(runs: tuple[Run, ...], place: tuple[int | None, int]) -> tuple[int, ...]:
    """Read a sequence off its runs."""
    index, end = place
    if index is None:
        return ()
    run = runs[index]
    return spell(runs, (run.parent, run.start)) + run.ids[: end - run.start]


def test_contexts_of_one_conversation_are_places_on_one_run():
    forest = plant([TRUNK[:20], TRUNK, TRUNK[:40], TRUNK[:40]])
    assert forest.runs == (Run(TRUNK),)
    assert forest.places == ((0, 20), (0, 60), (0, 40), (0, 40))


def test_contexts_that_part_midway_share_what_stands_before():
    fork = (*TRUNK[:30], *range(500, 510))
    twig = (*fork[:36], 7, 8)
    sequences = [twig, TRUNK, fork, (1, 2, 3), ()]
    forest = plant(sequences)
    assert [(run.parent, run.start, len(run.ids)) for run in forest.runs] == [
        (None, 0, 60),
        (0, 30, 10),
        (1, 36, 2),
        (None, 0, 3),
    ]
    assert [spell(forest.runs, place) for place in forest.places] == sequences
    assert roots(forest.runs) == [0, 0, 0, 3]


def test_a_few_tokens_in_common_are_not_worth_a_branch():
    forest = plant([(*TRUNK[:5], 1, 2), TRUNK])
    assert [run.parent for run in forest.runs] == [None, None]


def test_a_token_sees_its_own_line_up_to_itself_and_nothing_else():
    sequences = [TRUNK, (*TRUNK[:30], 1, 2, 3), (*TRUNK[:45], 4), (9, 8, 7)]
    runs = plant(sequences).runs
    every = range(len(runs))
    mask = visible(runs, every, every, None)
    ids = [token for run in runs for token in run.ids]
    at = positions(runs, every).tolist()
    lines = {
        (index, p): spell(runs, (index, p + 1))
        for index in every
        for p in range(runs[index].start, runs[index].end)
    }
    row = 0
    for index in every:
        for position in range(runs[index].start, runs[index].end):
            seen = [k for k in range(len(ids)) if mask[row, k]]
            assert sorted(at[k] for k in seen) == list(range(position + 1))
            assert tuple(ids[k] for k in sorted(seen, key=lambda k: at[k])) == lines[index, position]
            row += 1


def test_a_window_hides_what_is_too_far_back():
    mask = visible((Run(TRUNK),), [0], [0], 8)
    assert mask.sum(1).tolist() == [min(i + 1, 8) for i in range(60)]
    assert torch.equal(mask, mask.tril())
