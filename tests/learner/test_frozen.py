"""The context-frozen pass: the loss of the full pass, and a gradient for everything that reads."""

import pytest
import torch
import torch.nn.functional as F

from learner.frozen import frozen_hidden
from learner.model import load_model, trainable
from learner.tokens import Row


def row(context: list[int], answer: list[int], lead: tuple[int, ...] = (1, 520, 9531, 198)) -> Row:
    return Row("e", "correction", tuple(context), lead, tuple(answer), (False,) * len(answer))


def rows() -> list[Row]:
    generator = torch.Generator().manual_seed(0)

    def draw(count: int) -> list[int]:
        return torch.randint(5, 40_000, (count,), generator=generator).tolist()

    return [
        row(draw(37), draw(11)),
        row(draw(2), draw(19)),
        row(draw(23), draw(1), lead=(7,)),
        row([], draw(6)),
    ]


def full_loss(model, batch: list[Row]) -> torch.Tensor:
    total = torch.zeros(())
    for r in batch:
        ids = torch.tensor([[*r.context, *r.lead, *r.answer]])
        logits = model(input_ids=ids).logits[0]
        start = len(r.context) + len(r.lead)
        total = total + F.cross_entropy(logits[start - 1 : -1], ids[0, start:], reduction="sum")
    return total


def frozen_loss(model, batch: list[Row]) -> torch.Tensor:
    hidden = frozen_hidden(model, batch)
    return F.cross_entropy(model.lm_head(hidden.states), hidden.labels, reduction="sum")


@pytest.fixture(scope="module", params=["smollm2_path", "tiny_qwen35_path"])
def model(request):
    model, _ = load_model(request.getfixturevalue(request.param), torch.float32)
    for parameter in trainable(model).values():
        parameter.requires_grad_(True)
    yield model
    model.zero_grad(set_to_none=True)


def test_loss_equals_the_full_pass(model):
    with torch.no_grad():
        assert frozen_loss(model, rows()).item() == pytest.approx(full_loss(model, rows()).item(), rel=1e-5)


def test_hidden_states_are_the_rows_own_in_order(model):
    with torch.no_grad():
        hidden = frozen_hidden(model, rows())
        alone = [frozen_hidden(model, [r]).states for r in rows()]
    assert hidden.labels.tolist() == [t for r in rows() for t in r.answer]
    assert hidden.row.tolist() == [i for i, r in enumerate(rows()) for _ in r.answer]
    torch.testing.assert_close(hidden.states, torch.cat(alone), rtol=1e-3, atol=1e-3)


def test_gradient_reaches_every_trainable_tensor_and_no_other(model):
    model.zero_grad(set_to_none=True)
    frozen_loss(model, rows()[:2]).backward()
    with_gradient = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    assert with_gradient == set(trainable(model))
    parts = {"q_proj", "o_proj", "gate_proj", "down_proj"}
    if model.config.model_type.startswith("qwen3_5"):
        parts |= {"in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "A_log", "dt_bias", "conv1d"}
    assert all(any(part in name for name in with_gradient) for part in parts)


def test_without_context_the_gradient_is_the_full_one(model):
    batch = [row([], list(range(100, 112)), lead=(5, 6, 7, 8, 9))]
    gradients = []
    for loss in (frozen_loss, full_loss):
        model.zero_grad(set_to_none=True)
        loss(model, batch).backward()
        gradients.append({n: p.grad.clone() for n, p in trainable(model).items()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-2, atol=1e-3, msg=name)


def test_context_gets_no_gradient(model):
    """The same row with the context given as lead has another gradient, so the context is frozen."""
    context, answer = list(range(100, 140)), list(range(200, 206))
    gradients = []
    for batch in ([row(context, answer)], [row([], answer, lead=(*context, 1, 520, 9531, 198))]):
        model.zero_grad(set_to_none=True)
        frozen_loss(model, batch).backward()
        name = next(n for n in trainable(model) if n.endswith("layers.0.mlp.up_proj.weight"))
        gradients.append(trainable(model)[name].grad.flatten().clone())
    assert F.cosine_similarity(*gradients, dim=0) < 0.999
