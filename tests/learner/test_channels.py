"""Machine code and torch agree on what Apollo takes of the channels of a gradient."""

import pytest
import torch

from learner.channels import (
    Step,
    adam_ratio,
    adam_ratio_in_torch,
    add_with_remainder,
    limited,
    limited_in_torch,
    squares,
)
from learner.rounding import apply_with_remainder_in_torch

SHAPES = [(70, 33), (33, 70), (1, 40), (40, 1)]
each_shape = pytest.mark.parametrize("shape", SHAPES)
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@each_shape
@each_type
def test_squares_of_channels(shape: tuple[int, int], dtype: torch.dtype) -> None:
    matrix = noise(*shape).to(dtype)
    for rows in (True, False):
        expected = matrix.float().square().sum(int(rows))
        torch.testing.assert_close(squares(matrix, rows), expected)
        torch.testing.assert_close(squares(matrix.T.contiguous().T, rows), expected)


@each_shape
def test_moments_and_ratio(shape: tuple[int, int]) -> None:
    for rows in (True, False):
        one, other = ([noise(*shape, seed=1), noise(*shape, seed=2).square()] for _ in range(2))
        for age in (1, 5, 300):
            value = noise(*shape, seed=age)
            value[0, 0] = 0
            arguments = ((0.9, 0.999), 1e-8, (age, age + 200), rows)
            found = adam_ratio(value, *one, *arguments)
            torch.testing.assert_close(
                found, adam_ratio_in_torch(value, *other, *arguments), rtol=1e-4, atol=1e-5
            )
            torch.testing.assert_close(one, other)


def test_channel_of_zeros_has_the_ratio_zero() -> None:
    small = torch.zeros(3, 8)
    arguments = ((0.9, 0.999), 1e-8, (1, 1), True)
    assert torch.equal(adam_ratio(small, small.clone(), small.clone(), *arguments), torch.zeros(3))
    assert torch.equal(adam_ratio_in_torch(small, small.clone(), small.clone(), *arguments), torch.zeros(3))


@each_shape
@each_type
@pytest.mark.parametrize("channels", ["rows", "columns", "one"])
def test_step_with_factors_is_added_bit_for_bit_as_a_dense_one(
    shape: tuple[int, int], dtype: torch.dtype, channels: str
) -> None:
    gradient = (noise(*shape) * 1e-2).to(dtype)
    factor = noise(*{"rows": (shape[0], 1), "columns": (1, shape[1]), "one": (1, 1)}[channels], seed=3)
    one, other = (noise(*shape, seed=4).bfloat16() for _ in range(2))
    left, left_other = torch.zeros(shape), torch.zeros(shape)
    for _ in range(3):
        changed = add_with_remainder(one, left, Step(gradient, factor))
        dense = Step(gradient.clone(), factor).dense()
        assert changed == apply_with_remainder_in_torch(other, left_other, dense)
        assert torch.equal(one, other)
        assert torch.equal(left, left_other)


@pytest.mark.parametrize("channels", [70, 1])
@pytest.mark.parametrize("before", [0.0, 1e-4, 0.5, 1e4])
def test_limited_factors_and_the_norm_that_is_kept(channels: int, before: float) -> None:
    found_norm, expected_norm = torch.tensor(before), torch.tensor(before)
    arguments = (1.01, 1e-3, 0.25)
    ratio = noise(channels).abs()
    ratio = ratio if channels > 1 else ratio.squeeze()
    sums = noise(70, seed=1).square()
    found = limited(sums, ratio, found_norm, *arguments)
    torch.testing.assert_close(found, limited_in_torch(sums, ratio, expected_norm, *arguments))
    torch.testing.assert_close(found_norm, expected_norm)
    bound = 1.01 * before
    assert (found_norm.item() == pytest.approx(bound)) == (before == 0.5)
