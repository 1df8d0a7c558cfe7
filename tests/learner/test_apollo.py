"""Apollo against Adam written out, and the gaps of the paper that it closes."""

import io
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from learner import apollo
from learner.apollo import Apollo
from policies.errors import ConfigError

LICENCE = Path(__file__).parents[2] / "LICENSE"


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
    optimizer = Apollo({"w": torch.zeros(64, 48, dtype=torch.bfloat16)}, lr=1.0, rank=8, refresh=1000)
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


@pytest.mark.parametrize("rank", [64, 256, 1])
def test_state_takes_what_the_accounts_say(rank):
    shapes = {"up": (1536, 576), "down": (576, 1536), "norm": (576,), "conv": (64, 1, 4)}
    optimizer = Apollo({n: torch.zeros(s) for n, s in shapes.items()}, lr=1.0, rank=rank)
    numbers = {name: s["first"].numel() for name, s in optimizer.state_dict().items()}
    assert numbers == {"up": 1536 * rank, "down": 1536 * rank, "norm": 576, "conv": 256}
    adam = sum(math.prod(s) for s in shapes.values())
    if rank == 64:
        assert sum(numbers.values()) <= adam / 8


def test_state_and_steps_take_the_memory_that_the_accounts_say():
    """Measured in a process of its own: moments and the kept projections, one tensor's scratch, no more."""
    code = """
import torch
from benchmarks.learner.cells import MIB, extra_mib
from transformers import LlamaConfig, LlamaForCausalLM

from learner import apollo
from learner.apollo import Apollo
torch.set_num_threads(1)
shapes = {f"w{i}": (1536, 576) for i in range(24)}
weights = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
gradient = torch.randn(1536, 576).bfloat16()
Apollo({"w": gradient}, 1.0, 64).step("w", gradient)  # compiles
def run():
    optimizer = Apollo(weights, 1.0, 64)
    for name in weights:
        optimizer.step(name, gradient)
    run.kept = optimizer
print(extra_mib(run))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    moments, projections, adam = 24 * 1536 * 64 * 8, 24 * 64 * 576 * 2, 24 * 1536 * 576 * 8
    measured = float(done.stdout) * 2**20
    assert moments <= measured < moments + projections + 8 * 2**20 < adam / 5


def test_rank_of_all_directions_is_adamw():
    gradients = [noise(96, 64, seed=s) for s in range(5)]
    weight = torch.nn.Parameter(torch.zeros(96, 64))
    exact = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0)
    ours = torch.zeros(96, 64)
    optimizer = Apollo({"w": ours}, lr=1e-3, rank=64)
    for gradient in gradients:
        weight.grad = gradient.clone()
        exact.step()
        ours += optimizer.update("w", gradient.clone())
    torch.testing.assert_close(ours, weight.detach())


@pytest.mark.parametrize("shape", [(96, 64), (64, 96)])
def test_projection_of_full_rank_gives_each_channel_the_length_of_its_adamw_step(shape, monkeypatch):
    """In an orthogonal basis of all n directions, where alpha is 1, only the direction differs."""
    turn = torch.linalg.qr(noise(64, 64, seed=9))[0]
    monkeypatch.setattr(apollo, "_rank_of", lambda weight, rank: rank)
    monkeypatch.setattr(Apollo, "_drawn", lambda *arguments: turn)
    optimizer = Apollo({"w": torch.zeros(shape)}, lr=1e-3, rank=64, growth=1e9)
    rows = shape[0] >= shape[1]
    weight = torch.nn.Parameter(torch.zeros(shape))
    exact = torch.optim.AdamW([weight], lr=1e-3, weight_decay=0.0)
    for s in range(5):
        gradient = noise(*shape, seed=s)
        weight.data.zero_()
        weight.grad = gradient @ turn.T if rows else turn @ gradient
        exact.step()
        step = optimizer.update("w", gradient.clone())
        dim = 1 if rows else 0
        torch.testing.assert_close(step.norm(dim=dim), weight.detach().norm(dim=dim), rtol=1e-4, atol=1e-8)
        assert torch.nn.functional.cosine_similarity(step, -gradient, dim=dim).min() > 0.9999


def test_projection_is_unbiased():
    """The mean of P^T P over many draws is the identity: no direction of the gradient is preferred."""
    gradient = noise(48, 64)
    optimizer = Apollo({"w": gradient}, lr=1.0, rank=8)
    draws = torch.stack([optimizer._drawn("w", gradient, 8, epoch) for epoch in range(4000)])
    mean = torch.einsum("eri,erj->ij", draws, draws) / len(draws)
    assert (mean - torch.eye(48)).abs().max() < 5 * (2 / 8 / 4000) ** 0.5


def test_projection_is_drawn_once_for_all_machines():
    """The first numbers of a projection, as they were when this was written."""
    drawn = Apollo({"w": torch.zeros(64, 48)}, lr=1.0, rank=8, seed=3)._drawn("w", torch.zeros(64, 48), 8, 2)
    assert drawn.flatten()[:3].tolist() == pytest.approx(
        [0.29439952969551086, -0.015412142500281334, 0.19896496832370758], rel=1e-6
    )


def test_state_goes_on_on_another_device():
    """Stood in for by the torch twin of the machine code: the same steps up to rounding."""
    optimizer, other = (Apollo({"w": torch.zeros(96, 64)}, lr=1.0, rank=8) for _ in range(2))
    for s in range(3):
        optimizer.update("w", noise(96, 64, seed=s))
    other.load_state_dict(optimizer.state_dict())
    gradient = noise(96, 64, seed=7)
    strided = gradient.T.contiguous().T  # no machine code for it
    torch.testing.assert_close(
        other.update("w", strided), optimizer.update("w", gradient), rtol=1e-4, atol=1e-7
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_step_on_a_gpu_is_that_of_the_cpu():
    steps = [
        Apollo({"w": torch.zeros(96, 64, device=d)}, lr=1.0, rank=8).update("w", noise(96, 64).to(d)).cpu()
        for d in ("cpu", "cuda")
    ]
    torch.testing.assert_close(*steps, rtol=1e-3, atol=1e-6)


def test_new_subspace_begins_without_first_moments_and_keeps_the_second():
    optimizer = Apollo({"w": torch.zeros(64, 48)}, lr=1.0, rank=8, refresh=4)
    for s in range(5):
        before = optimizer.state_dict()["w"]["second"]
        optimizer.update("w", noise(64, 48, seed=s))
    after = optimizer.state_dict()["w"]
    small = noise(64, 48, seed=4) @ optimizer._projection("w", noise(64, 48), 8, 1).T
    torch.testing.assert_close(after["first"], 0.1 * small)
    torch.testing.assert_close(after["second"], 0.999 * before + 0.001 * small * small)


def test_constant_gradient_keeps_its_step_over_a_refresh():
    """The bias of the forgotten first moments is corrected anew, or the step would fall to a tenth."""
    optimizer = Apollo({"w": torch.zeros(128, 64)}, lr=1.0, rank=16, refresh=10)
    norms = [optimizer.update("w", noise(128, 64)).norm().item() for _ in range(30)]
    assert min(norms) > 0.8 * norms[0]
    assert max(norms) < 1.3 * norms[0]


def test_named_tensors_are_not_projected():
    gradients = [noise(96, 64, seed=s) for s in range(3)]
    optimizer = Apollo({"embed": torch.zeros(96, 64)}, lr=1e-3, rank=8, plain={"embed"})
    for g, expected in zip(gradients, adam_steps(gradients, 1e-3), strict=True):
        torch.testing.assert_close(optimizer.update("embed", g.clone()), expected)


def test_projecting_in_bf16_changes_no_factor_that_counts():
    exact, short = (Apollo({"w": torch.zeros(576, 576)}, 1.0, 64, in_type=t) for t in (None, torch.bfloat16))
    for s in range(4):
        one, other = (o.update("w", noise(576, 576, seed=s)) for o in (exact, short))
    assert (one - other).norm() / one.norm() < 0.01


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


def test_language_model_learns_a_text_as_fast_as_with_adamw_on_a_fraction_of_its_state():
    """Bytes of the licence, two layers, a hundred steps; one refresh on the way."""
    text = torch.frombuffer(bytearray(LICENCE.read_bytes()), dtype=torch.uint8).long()

    def losses(apollo: bool) -> list[float]:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=128, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4
        )
        model = LlamaForCausalLM(config)
        named = dict(model.named_parameters())
        exact = torch.optim.AdamW(named.values(), lr=3e-3, weight_decay=0.0)
        ours = Apollo(named, lr=3e-3, rank=8, refresh=60)
        found = []
        for at in torch.randint(len(text) - 64, (100, 8)):
            loss = model(ids := torch.stack([text[a : a + 64] for a in at]), labels=ids).loss
            model.zero_grad()
            loss.backward()
            if apollo:
                for name, parameter in named.items():
                    parameter.data += ours.update(name, parameter.grad)
            else:
                exact.step()
            found.append(loss.item())
        return found

    ours, exact = losses(True), losses(False)
    start, mine, theirs = ours[0], sum(ours[-10:]) / 10, sum(exact[-10:]) / 10
    assert start - mine > 0.9 * (start - theirs)
