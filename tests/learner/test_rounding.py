"""Small steps must survive bf16."""

import pytest
import torch

from learner.rounding import apply_with_remainder, stochastic_round


def test_stochastic_rounding_is_unbiased_and_takes_only_the_two_neighbours():
    value = 1.0 + 2.0**-7 * 0.3
    drawn = stochastic_round(torch.full((200_000,), value), torch.Generator().manual_seed(0)).float()
    assert set(drawn.unique().tolist()) == {1.0, 1.0 + 2.0**-7}
    assert drawn.mean().item() == pytest.approx(value, abs=5 * 2.0**-7 * 0.46 / 200_000**0.5)


def test_stochastic_rounding_is_unbiased_for_both_signs_over_many_magnitudes():
    generator = torch.Generator().manual_seed(1)
    values = torch.randn(500, generator=generator) * torch.logspace(-8, 8, 500)
    mean = stochastic_round(values.repeat(4000, 1), generator).double().mean(0)
    error = (mean - values).abs() / (values.abs() * 2.0**-7)
    assert error.max() < 5 * 0.5 / 4000**0.5


def test_stochastic_rounding_keeps_what_bf16_can_hold():
    values = torch.tensor([0.0, -0.0, 1.5, -3.0, 2.0**-120, float("inf"), float("-inf")])
    assert torch.equal(stochastic_round(values).float(), values)
    assert stochastic_round(torch.tensor([float("nan")])).isnan().all()


def test_stochastic_rounding_repeats_with_its_generator():
    values = torch.randn(1000)
    one, two = (stochastic_round(values, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, two)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_remainder_carries_steps_far_below_an_ulp(dtype):
    start = torch.randn(1000, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight, remainder = start.clone().to(dtype), torch.zeros(1000)
    step = start.float() * 2.0**-12
    for _ in range(64):
        live = apply_with_remainder(weight, remainder, step.clone())
    exact = start.float() * (1 + 64 * 2.0**-12)
    torch.testing.assert_close(weight.float() + remainder, exact, rtol=1e-5, atol=0)
    assert torch.equal(live, exact.bfloat16())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_weight_always_holds_the_live_value(dtype):
    weight, remainder = torch.randn(300).bfloat16().to(dtype), torch.zeros(300)
    live = apply_with_remainder(weight, remainder, torch.randn(300) * 1e-3)
    assert live.dtype == torch.bfloat16
    assert torch.equal(weight.float(), live.float())
    assert (remainder.abs() <= live.float().abs() * 2.0**-8 + 1e-30).all()
