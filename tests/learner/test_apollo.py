"""Apollo against Adam written out, and the gaps of the paper that it closes."""

import io
import math
from itertools import pairwise

import pytest
import torch

from learner.apollo import Apollo
from policies.errors import ConfigError


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adam_steps(gradients: list[torch.Tensor], lr: float) -> list[torch.Tensor]:
    first, second, steps = torch.zeros_like(gradients[0]), torch.zeros_like(gradients[0]), []
    for t, g in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        steps.append(-lr * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8))
    return steps


@pytest.mark.parametrize("shape", [(64,), (64, 1, 4), (16, 64)])
def test_tensor_that_is_not_projected_takes_adam_steps(shape):
    gradients = [noise(*shape, seed=s) for s in range(5)]
    optimizer = Apollo({"w": torch.zeros(shape)}, lr=1e-3, rank=8)
    for g, expected in zip(gradients, adam_steps(gradients, 1e-3), strict=True):
        torch.testing.assert_close(optimizer.update("w", g.clone()), expected)


@pytest.mark.parametrize("shape", [(256, 128), (128, 256)])
@pytest.mark.parametrize("rank", [32, 1])
def test_default_scale_makes_the_first_step_as_long_as_an_adam_step(shape, rank):
    step = Apollo({"w": torch.zeros(shape)}, lr=1e-3, rank=rank).update("w", noise(*shape))
    assert step.square().mean().sqrt().item() == pytest.approx(1e-3, rel=0.15)


@pytest.mark.parametrize("shape", [(256, 64), (64, 256)])
def test_step_is_the_gradient_with_a_factor_for_each_channel_of_the_longer_side(shape):
    gradient = noise(*shape)
    step = Apollo({"w": torch.zeros(shape)}, lr=1.0, rank=16).update("w", gradient.clone())
    factors = step / gradient
    if shape[0] < shape[1]:
        factors = factors.T
    assert (factors < 0).all()
    torch.testing.assert_close(factors, factors[:, :1].expand_as(factors), rtol=1e-3, atol=0)
    assert factors[:, 0].std() > 0


def test_channel_factor_follows_the_moments_of_the_projected_gradient():
    gradients = [noise(128, 64, seed=s) for s in range(4)]
    optimizer = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=8, growth=1e9)
    steps = [optimizer.update("w", g.clone()) for g in gradients]
    projection = optimizer._projection("w", gradients[0], 8, 0)
    small = [g @ projection.T for g in gradients]
    adam = adam_steps(small, 1.0)[-1]
    expected = -gradients[-1] * (adam.norm(dim=1) / small[-1].norm(dim=1))[:, None] * math.sqrt(64 / 8)
    torch.testing.assert_close(steps[-1], expected, rtol=1e-4, atol=1e-6)


def test_rank_one_has_one_factor_for_the_tensor():
    gradient = noise(128, 64)
    factors = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=1).update("w", gradient.clone()) / gradient
    torch.testing.assert_close(factors, factors[:1, :1].expand_as(factors), rtol=1e-3, atol=0)


def test_scale_of_the_paper_replaces_the_default():
    plain, paper = (
        Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16, scale=s).update("w", noise(128, 64))
        for s in (None, 1.0)
    )
    torch.testing.assert_close(plain, paper * math.sqrt(64 / 16))


def test_constant_gradient_keeps_its_step_from_the_start():
    """The limiter must not take the start of Adam's averages for growth."""
    optimizer = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16)
    norms = [optimizer.update("w", noise(128, 64)).norm().item() for _ in range(20)]
    assert norms == pytest.approx([norms[0]] * 20, rel=1e-3)


def test_growth_of_the_step_is_limited():
    optimizer = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16)
    norms = [optimizer.update("w", noise(128, 64, seed=s) * 10.0**s).norm().item() for s in range(6)]
    assert all(b <= 1.01 * a * 1.0001 for a, b in pairwise(norms))


@pytest.mark.parametrize("size", [0.0, 1e-20])
def test_tensor_without_gradient_at_first_learns_later(size):
    optimizer = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16)
    first = optimizer.update("w", noise(128, 64) * size)
    assert torch.isfinite(first).all()
    later = [optimizer.update("w", noise(128, 64)).square().mean().sqrt().item() for _ in range(3)]
    assert min(later) > 0.1


def test_zero_channel_gets_a_zero_step():
    gradient = noise(128, 64)
    gradient[3] = 0
    step = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16).update("w", gradient)
    assert torch.isfinite(step).all()
    assert (step[3] == 0).all()


def test_projection_depends_on_seed_name_and_refresh_only():
    def first_steps(name: str, seed: int, count: int = 4, refresh: int = 200) -> list[torch.Tensor]:
        optimizer = Apollo(
            {name: torch.zeros(64, 48)}, lr=1.0, rank=8, seed=seed, refresh=refresh, keep_projections=False
        )
        return [optimizer.update(name, noise(64, 48, seed=s)) for s in range(count)]

    same, again = first_steps("a", 0), first_steps("a", 0)
    assert all(torch.equal(x, y) for x, y in zip(same, again, strict=True))
    assert not torch.equal(same[1], first_steps("b", 0)[1])
    assert not torch.equal(same[1], first_steps("a", 1)[1])
    refreshed = first_steps("a", 0, refresh=2)
    assert torch.equal(same[1], refreshed[1])
    assert not torch.equal(same[2], refreshed[2])


def test_kept_projections_change_nothing():
    kept, drawn = (
        Apollo({"w": torch.zeros(64, 48)}, lr=1.0, rank=8, refresh=2, keep_projections=k)
        for k in (True, False)
    )
    for s in range(5):
        assert torch.equal(kept.update("w", noise(64, 48, seed=s)), drawn.update("w", noise(64, 48, seed=s)))


def test_moments_stay_fp32_for_bf16_weights_and_decay():
    optimizer = Apollo({"w": torch.zeros(64, 48, dtype=torch.bfloat16)}, lr=1.0, rank=8)
    gradient = noise(64, 48).bfloat16()
    optimizer.update("w", gradient)
    start = optimizer.state_dict()["w"]["second"].mean()
    for _ in range(500):
        step = optimizer.update("w", gradient * 1e-3)
    assert step.dtype == torch.float32
    assert optimizer.state_dict()["w"]["second"].mean() / start == pytest.approx(0.999**500, rel=0.02)


def test_state_saves_safely_and_resumes_bit_for_bit():
    shapes = {"w": (64, 48), "n": (48,), "q": (40, 96)}

    def fresh() -> Apollo:
        return Apollo({n: torch.zeros(s) for n, s in shapes.items()}, lr=1e-3, rank=8, refresh=4)

    def run(optimizer: Apollo, steps: range) -> list[torch.Tensor]:
        return [optimizer.update(n, noise(*s, seed=t)) for t in steps for n, s in shapes.items()]

    whole = run(fresh(), range(8))
    begun = fresh()
    run(begun, range(3))
    file = io.BytesIO()
    torch.save(begun.state_dict(), file)
    run(begun, range(90, 95))
    file.seek(0)
    resumed = fresh()
    resumed.load_state_dict(torch.load(file, weights_only=True))
    rest = run(resumed, range(3, 8))
    assert all(torch.equal(a, b) for a, b in zip(whole[9:], rest, strict=True))


def test_state_of_another_model_is_refused():
    optimizer = Apollo({"w": torch.zeros(64, 48)}, lr=1e-3, rank=8)
    with pytest.raises(ConfigError, match="'v'"):
        optimizer.load_state_dict(
            Apollo({"w": torch.zeros(64, 48), "v": torch.zeros(3)}, 1e-3, 8).state_dict()
        )
    with pytest.raises(ConfigError, match="rank"):
        optimizer.load_state_dict(Apollo({"w": torch.zeros(64, 48)}, 1e-3, 4).state_dict())


def test_reset_is_a_fresh_start():
    optimizer = Apollo({"w": torch.zeros(64, 48)}, lr=1.0, rank=8)
    first = optimizer.update("w", noise(64, 48))
    optimizer.update("w", noise(64, 48, seed=1))
    optimizer.reset()
    assert torch.equal(first, optimizer.update("w", noise(64, 48)))


def test_state_is_an_eighth_of_adam_and_less():
    optimizer = Apollo({"w": torch.zeros(1536, 576)}, lr=1.0, rank=64)
    assert optimizer.state_dict()["w"]["first"].shape == (1536, 64)


@pytest.mark.parametrize("rank", [8, 1])
def test_descends_a_least_squares_problem(rank):
    target, inputs = noise(64, 48), noise(256, 48, seed=1)
    weight = torch.zeros(64, 48, requires_grad=True)
    optimizer = Apollo({"w": weight}, lr=3e-2, rank=rank)
    losses = []
    for t in range(200):
        loss = (inputs @ (weight - target).T).square().mean()
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight += optimizer.update("w", gradient, 3e-2 * (1 - t / 200))
        losses.append(loss.item())
    assert losses[-1] < 0.01 * losses[0]
