from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from learner.vectors import blocks as blocking
from learner.vectors.algebra import Combination, average, scaled
from learner.vectors.blocks import Deltas, Shape, blocks, spans
from learner.vectors.dare import Dropped
from learner.vectors.statistics import cosine, summary, tally_of
from learner.vectors.threshold import magnitude_at
from learner.vectors.ties import Ties

SHAPES: dict[str, Shape] = {
    "model.layers.0.mlp.up_proj.weight": (40, 30),
    "model.layers.1.self_attn.q_proj.weight": (17, 8),
    "model.norm.weight": (33,),
}


@dataclass(frozen=True)
class Memory:
    """A vector in memory, read as a file is."""

    tensors: dict[str, Tensor]

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}

    def rows(self, name: str, start: int, stop: int) -> Tensor:
        return self.tensors[name][start:stop].clone()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking.spans, "__defaults__", (64,))


def vector(seed: int, names: list[str] | None = None) -> Memory:
    drawn = np.random.default_rng(seed)
    tensors = {n: torch.from_numpy(drawn.normal(size=SHAPES[n]).astype(np.float32)) for n in names or SHAPES}
    return Memory(tensors)


def whole(deltas: Deltas) -> dict[str, np.ndarray]:
    parts: dict[str, list[np.ndarray]] = {}
    for name, _, _, rows in blocks(deltas):
        parts.setdefault(name, []).append(rows.numpy())
    return {name: np.concatenate(found) for name, found in parts.items()}


def flat(deltas: Deltas) -> np.ndarray:
    found = whole(deltas)
    return np.concatenate([found[name].ravel() for name in SHAPES if name in found])


def test_blocks_cover_each_row_once() -> None:
    assert list(spans((5, 30), 64)) == [(0, 2), (2, 4), (4, 5)]
    assert list(spans((3, 100), 64)) == [(0, 1), (1, 2), (2, 3)]
    assert list(spans(())) == [(0, 1)]


def test_a_combination_is_the_sum_of_multiples_and_absent_tensors_are_zero() -> None:
    a, b = vector(1), vector(2, ["model.norm.weight"])
    found = whole(Combination(((1.0, a), (-0.5, b))))
    expected = (
        a.tensors["model.norm.weight"].numpy() - np.float32(0.5) * b.tensors["model.norm.weight"].numpy()
    )
    np.testing.assert_allclose(found["model.norm.weight"], expected, rtol=1e-6)
    up = "model.layers.0.mlp.up_proj.weight"
    np.testing.assert_array_equal(found[up], a.tensors[up].numpy())


def test_negation_and_average() -> None:
    a, b = vector(1), vector(2)
    np.testing.assert_array_equal(flat(scaled(a, -1.0)), -flat(a))
    np.testing.assert_allclose(flat(average([a, b])), (flat(a) + flat(b)) / 2, rtol=1e-6)


@pytest.mark.parametrize("share", [0.001, 0.2, 0.5, 1.0])
def test_the_threshold_is_the_kth_largest_magnitude_of_the_whole_vector(share: float) -> None:
    a = vector(3)
    magnitudes = np.sort(np.abs(flat(a)))[::-1]
    assert magnitude_at(a, share) == magnitudes[int(np.ceil(share * len(magnitudes))) - 1]


def test_ties_trims_elects_and_averages_those_who_agree() -> None:
    vectors = [vector(seed) for seed in (4, 5, 6)]
    trimmed = []
    for one in vectors:
        entries = flat(one)
        kept = int(np.ceil(0.3 * len(entries)))
        least = np.sort(np.abs(entries))[-kept]
        trimmed.append(np.where(np.abs(entries) >= least, entries, 0))
    stack = np.stack(trimmed)
    sign = np.sign(stack.sum(0))
    agree = (np.sign(stack) == sign) & (sign != 0)
    expected = np.where(agree, stack, 0).sum(0) / np.maximum(agree.sum(0), 1)
    merged = Ties(vectors, keep=0.3, scale=1)
    np.testing.assert_allclose(flat(merged), expected, rtol=1e-5, atol=1e-7)
    matched = Ties(vectors, keep=0.3)
    plain = np.sum([flat(v) for v in vectors], 0)
    assert matched.scale == pytest.approx((plain @ plain) / (expected @ plain), rel=1e-5)
    assert flat(matched) @ plain == pytest.approx(plain @ plain, rel=1e-5)
    np.testing.assert_allclose(flat(matched), matched.scale * expected, rtol=1e-5, atol=1e-7)
    conflicting = (stack > 0).any(0) & (stack < 0).any(0)
    assert merged.conflicts().conflicting == conflicting.sum() > 0
    assert merged.conflicts().entries == (stack != 0).any(0).sum()


def test_ties_is_as_strong_as_the_sum_but_never_weaker_than_without_lambda() -> None:
    one = vector(1)
    doubled = flat(Ties([one, one], keep=1))  # the mean of two that agree is half of their sum
    np.testing.assert_allclose(doubled, 2 * flat(one), rtol=1e-5)
    against = scaled(one, -0.9)
    assert Ties([one, against], keep=1).scale == 1
    assert Ties([one, scaled(one, -1.0)], keep=1).scale == 1


def test_zeros_are_never_kept_by_trimming() -> None:
    sparse = Memory({"model.norm.weight": torch.zeros(33).index_fill(0, torch.tensor([3]), 2.0)})
    other = Memory({"model.norm.weight": torch.full((33,), -1.0)})
    merged = flat(Ties([sparse, other], keep=0.9, scale=1))
    assert merged[3] == 2.0
    np.testing.assert_array_equal(np.delete(merged, 3), -1.0)


def test_dare_keeps_the_mean_and_is_the_same_each_time() -> None:
    ones = Memory({"model.layers.0.mlp.up_proj.weight": torch.ones(2000, 30)})
    first, again = (flat(Dropped(ones, 0.8, "seed")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first).round(4)) == {0.0, 5.0}
    assert abs(first.mean() - 1) < 4 * np.sqrt(0.8 / 0.2 / first.size)
    assert (first != flat(Dropped(ones, 0.8, "other"))).any()


def test_numbers_by_layer_and_kind_and_the_cosine() -> None:
    a, b = vector(7), vector(8)
    a.tensors["model.norm.weight"][:11] = 0
    found = summary(tally_of(a).tensors)
    assert found.norm == pytest.approx(np.linalg.norm(flat(a)))
    assert found.sparsity == pytest.approx(11 / found.entries)
    up = a.tensors["model.layers.0.mlp.up_proj.weight"].numpy()
    assert found.by_layer["0"] == pytest.approx(np.linalg.norm(up))
    assert list(found.by_layer) == ["0", "1", "outside"]
    assert set(found.by_kind) == {"mlp.up_proj", "self_attn.q_proj", "model.norm"}
    x, y = flat(a).astype(np.float64), flat(b).astype(np.float64)
    assert cosine(a, b) == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y))
