"""Small steps must survive bf16, by machine code as by torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from learner.rounding import (
    apply_with_remainder,
    apply_with_remainder_in_torch,
    noise_key,
    stochastic_round,
    stochastic_round_in_torch,
)

SPECIAL = [0.0, -0.0, 1.5, -3.0, 2.0**-120, float("inf"), float("-inf")]


def awkward() -> Tensor:
    """Values of all magnitudes and signs, subnormal ones, the largest, infinities and every kind of NaN."""
    generator = torch.Generator().manual_seed(2)
    bits = torch.randint(-(2**31), 2**31, (200_003,), generator=generator).to(torch.int32)
    return torch.cat([bits.view(torch.float32), torch.tensor([*SPECIAL, 3.4e38, -3.4e38, 1e-45])])


def same_bits(one: Tensor, other: Tensor) -> bool:
    """NaN payloads do not matter; anything else does, the sign of a zero too."""
    nan = one.isnan()
    equal = one.view(torch.int16) == other.view(torch.int16)
    return bool((nan == other.isnan()).all() and (equal | nan).all())


def test_stochastic_rounding_is_unbiased_and_takes_only_the_two_neighbours() -> None:
    value = 1.0 + 2.0**-7 * 0.3
    drawn = stochastic_round(torch.full((200_000,), value), key=0).float()
    assert set(drawn.unique().tolist()) == {1.0, 1.0 + 2.0**-7}
    assert drawn.mean().item() == pytest.approx(value, abs=5 * 2.0**-7 * 0.46 / 200_000**0.5)


def test_stochastic_rounding_is_unbiased_for_both_signs_over_many_magnitudes() -> None:
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(500, generator=generator) * torch.logspace(-8, 8, 500)
    mean = stochastic_round(values.repeat(4000, 1), key=1).double().mean(0)
    error = (mean - values).abs() / (values.abs() * 2.0**-7)
    assert error.max() < 5 * 0.5 / 4000**0.5


def test_the_noise_of_one_place_is_unbiased_over_keys_and_independent_of_its_neighbour() -> None:
    values = torch.full((64,), 1.0 + 2.0**-7 * 0.5)
    drawn = torch.stack([stochastic_round(values, noise_key(0, "w", step)) for step in range(4000)]).float()
    ups = (drawn > 1.0).double()
    assert (ups.mean(0) - 0.5).abs().max() < 5 * 0.5 / 4000**0.5
    together = torch.corrcoef(ups.T) - torch.eye(64)
    assert together.abs().max() < 5.5 / 4000**0.5


def test_stochastic_rounding_keeps_what_bf16_can_hold() -> None:
    values = torch.tensor(SPECIAL)
    assert same_bits(stochastic_round(values, 0), values.bfloat16())
    assert stochastic_round(torch.tensor([float("nan")]), 0).isnan().all()


def test_stochastic_rounding_repeats_with_its_key_and_only_then() -> None:
    values = torch.randn(1000)
    assert torch.equal(stochastic_round(values, 5), stochastic_round(values, 5))
    assert not torch.equal(stochastic_round(values, 5), stochastic_round(values, 6))


def test_machine_code_and_torch_round_stochastically_to_the_same_bits() -> None:
    values = awkward()
    for key in (0, 1, 2**31, 2**32 - 1):
        assert same_bits(stochastic_round(values, key), stochastic_round_in_torch(values, key))


def test_machine_code_and_torch_keep_the_same_remainder() -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn(200_003, generator=generator).bfloat16()
    update = torch.randn(200_003, generator=generator) * torch.logspace(-9, 1, 200_003)
    one, other = start.clone(), start.clone()
    left, left_other = torch.zeros(start.shape), torch.zeros(start.shape)
    for _ in range(3):
        changed = apply_with_remainder(one, left, update.clone())
        assert changed == apply_with_remainder_in_torch(other, left_other, update.clone())
        assert torch.equal(one, other)
        assert torch.equal(left, left_other)


Apply = Callable[[Tensor, Tensor, Tensor], int]
each_way = pytest.mark.parametrize("apply", [apply_with_remainder, apply_with_remainder_in_torch])
each_type = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])


@each_way
@each_type
def test_remainder_carries_steps_far_below_an_ulp(apply: Apply, dtype: torch.dtype) -> None:
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight, remainder = start.clone().to(dtype), torch.zeros(1000)
    step = start.float() * 2.0**-12
    for _ in range(64):
        apply(weight, remainder, step.clone())
    exact = start.float() * (1 + 64 * 2.0**-12)
    torch.testing.assert_close(weight.float() + remainder, exact, rtol=1e-5, atol=0)
    assert torch.equal(weight.float(), exact.bfloat16().float())


@each_way
@each_type
def test_weight_holds_a_bf16_value_and_the_changed_ones_are_counted(apply: Apply, dtype: torch.dtype) -> None:
    before = torch.randn(300).bfloat16().to(dtype)
    weight, remainder = before.clone(), torch.zeros(300)
    changed = apply(weight, remainder, torch.randn(300) * 1e-3)
    assert torch.equal(weight.float(), weight.bfloat16().float())
    assert (remainder.abs() <= weight.float().abs() * 2.0**-8 + 1e-30).all()
    assert 0 < changed == int((weight != before).sum()) < 300


@each_way
def test_nothing_changes_where_the_update_is_below_half_an_ulp(apply: Apply) -> None:
    weight, remainder = torch.ones(64, dtype=torch.bfloat16), torch.zeros(64)
    assert apply(weight, remainder, torch.full((64,), 2.0**-10)) == 0
    assert torch.equal(remainder, torch.full((64,), 2.0**-10))


def test_machine_code_is_kept_for_the_next_process() -> None:
    code = "import torch; from learner import kernels; from learner.rounding import stochastic_round"
    code += "; stochastic_round(torch.ones(4), 1); print(sum(kernels.stochastic.stats.cache_hits.values()))"
    seen = [subprocess.check_output([sys.executable, "-c", code], text=True).strip() for _ in range(2)]
    assert seen[1] == "1"
