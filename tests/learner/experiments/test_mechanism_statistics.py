"""What the parts of `mechanisms` compute, on cases whose answer is known."""

import math

import pytest
import torch

from learner.experiments.intervals import minus, sign
from learner.experiments.mechanism.finding import mean, nested
from learner.experiments.mechanism.live import counts, torn, verdict
from learner.experiments.mechanism.training import plan, undirected
from learner.experiments.mechanism.update import GAUSSIAN, effective_rank, layers_of, top_share
from policies.config import TrainingConfig
from policies.errors import InputError
from policies.example import Example


def correction(number: int) -> Example:
    asked = {"role": "user", "content": f"What is {number}?"}
    return Example(
        id=f"c{number}",
        kind="correction",
        direction="Answer in lowercase.",
        context=({"role": "system", "content": "Answer in lowercase."}, asked),
        twin_context=(asked,),
        chosen="a number.",
        origin="correction",
    )


def general(number: int) -> Example:
    asked = ({"role": "user", "content": str(number)},)
    return Example(id=f"g{number}", kind="general", context=asked, chosen="Yes.", origin="base")


CORRECTIONS, POOL = [correction(i) for i in range(10)], [general(i) for i in range(40)]


def test_a_planted_difference_is_found_and_a_null_one_is_not() -> None:
    generator = torch.Generator().manual_seed(0)
    null = [torch.randn(40, generator=generator).tolist() for _ in range(2)]
    planted = [[value + 1.0 for value in items] for items in null]
    assert sign(nested(null)) == 0
    assert sign(nested(planted)) == 1
    assert sign(nested(minus(null, planted))) == -1
    low, high = nested(planted)
    assert low < mean(planted) < high


def test_scores_that_all_agree_are_not_taken_for_certain() -> None:
    assert nested([[0.0] * 6, [0.0] * 6]) == (-0.25, 0.25)
    assert nested([[1.0] * 3]) == (0.0, 2.0)


def test_seeds_that_disagree_widen_the_interval() -> None:
    alike, apart = [[0.4, 0.6], [0.4, 0.6]], [[0.0, 0.2], [0.8, 1.0]]
    assert mean(alike) == pytest.approx(mean(apart))
    widths = [high - low for low, high in map(nested, (alike, apart))]
    assert widths[1] > 3 * widths[0]


def test_the_top_share_of_known_updates() -> None:
    sparse = torch.zeros(10_000)
    sparse[:100] = 1.0
    assert top_share(sparse) == pytest.approx(1.0)
    assert top_share(torch.ones(10_000)) == pytest.approx(0.01)
    normal = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    assert top_share(normal) == pytest.approx(GAUSSIAN, abs=0.002)
    assert top_share(torch.zeros(10)) == 0.0


def test_the_effective_rank_of_known_matrices() -> None:
    assert effective_rank(torch.eye(20, 30)) == pytest.approx(20, rel=1e-6)
    assert effective_rank(torch.ones(30, 20)) == pytest.approx(1, abs=0.01)
    two = torch.diag(torch.tensor([3.0, 1.0, 0.0]))
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(two) == pytest.approx(math.exp(entropy), rel=1e-6)
    assert effective_rank(torch.zeros(3, 3)) == 0.0


def test_ranks_are_taken_in_first_and_last_layer() -> None:
    assert layers_of(30, 3) == {"0", "14", "29"}
    assert layers_of(2, 8) == {"0", "1"}


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5])
def test_general_rows_are_the_share_asked_for_and_the_rest_is_the_same(share: float) -> None:
    config = TrainingConfig(uses_per_example=4)
    batches = plan(CORRECTIONS, POOL, config, 3, share)
    rows = [slot for batch in batches for slot in batch]
    assert sum(slot.kind == "general" for slot in rows) / len(rows) == pytest.approx(share, abs=0.01)
    ours = [[s for s in batch if s.kind != "general"] for batch in batches]
    quarter = plan(CORRECTIONS, POOL, config, 3, 0.25)
    assert ours == [[s for s in batch if s.kind != "general"] for batch in quarter]
    uses = [slot.example_id for slot in rows if slot.kind == "correction"]
    assert {uses.count(e.id) for e in CORRECTIONS} == {4}
    assert all(any(slot.kind == "twin" for slot in batch) for batch in batches)


def test_no_general_row_is_said_plainly() -> None:
    assert plan(CORRECTIONS, [], TrainingConfig(), 0, 0.0)
    with pytest.raises(InputError, match="no general row to replay"):
        plan(CORRECTIONS, [], TrainingConfig(), 0, 0.25)


def test_the_control_has_neither_direction_nor_twin() -> None:
    bare = [undirected(e) for e in CORRECTIONS]
    assert not any("lowercase" in str(e.context) or e.direction or e.twin_context for e in bare)
    assert [e.chosen for e in bare] == [e.chosen for e in CORRECTIONS]
    kinds = {slot.kind for batch in plan(bare, POOL, TrainingConfig(), 0, 0.25) for slot in batch}
    assert kinds == {"correction", "general"}


def test_an_answer_is_of_one_version_or_of_neither() -> None:
    old, new = (-1.0, -2.0), (-1.5, -2.5)
    assert verdict(old, old, new) == "before"
    assert verdict(new, old, new) == "after"
    assert verdict((-1.0, -2.5), old, new) == "neither"
    assert verdict(old, old, old) == "same"


def test_a_torn_read_is_counted_with_its_distance() -> None:
    keys = ("pass", 0), ("answer", 0)
    rest = [dict(zip(keys, values, strict=True)) for values in (((-1.0,), (5,)), ((-2.0,), (6,)))]
    seen = [(keys[0], (-1.0,)), (keys[0], (-1.25,)), (keys[1], (5, 6)), (keys[1], (6,))]
    found = counts(seen, *rest)
    assert found["pass"] == {"same": 0, "before": 1, "after": 0, "neither": 1}
    assert found["answer"] == {"same": 0, "before": 0, "after": 1, "neither": 1}
    assert torn(seen, *rest) == [0.0, 0.25]
