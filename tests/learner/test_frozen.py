"""The context-frozen pass: the loss of the full pass, and a gradient for everything that reads."""

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from transformers import MistralConfig, MistralForCausalLM, Qwen2Config, Qwen2ForCausalLM
from transformers.models.qwen3_5.modeling_qwen3_5 import torch_chunk_gated_delta_rule

from learner import frozen
from learner.frozen import frozen_hidden
from learner.model import load_model, trainable
from learner.tokens import Row


def row(context: list[int], answer: list[int], lead: tuple[int, ...] = (1, 520, 9531, 198)) -> Row:
    return Row("e", "correction", tuple(context), lead, tuple(answer), (False,) * len(answer))


def draw(count: int, seed: int = 0) -> list[int]:
    return torch.randint(5, 40_000, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def conversation(length: int = 150) -> list[Row]:
    """Decision points of a conversation, one with two answers; the last context parts from it midway."""
    trunk = draw(length)
    return [
        row(trunk[:40], draw(9, 1)),
        row(trunk[:41], draw(4, 7)),
        row(trunk[: length // 2], draw(5, 2)),
        row(trunk[: length // 2], draw(12, 3), lead=(7,)),
        row(trunk, draw(8, 4)),
        row([*trunk[:60], *draw(30, 5)], draw(3, 6)),
    ]


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


def gradients_of(model, batch: list[Row]) -> dict[str, torch.Tensor]:
    model.zero_grad(set_to_none=True)
    frozen_loss(model, batch).backward()
    return {n: p.grad.clone() for n, p in trainable(model).items()}


@pytest.mark.parametrize("packed", [100, 1])
def test_conversation_has_the_loss_of_full_passes(model, monkeypatch, packed):
    """However many passes the contexts take."""
    monkeypatch.setattr(frozen, "_PACKED", packed)
    batch = [*conversation(), *rows()]
    with torch.no_grad():
        assert frozen_loss(model, batch).item() == pytest.approx(full_loss(model, batch).item(), rel=1e-5)


def test_conversation_has_the_gradient_of_one_pass_for_each_decision(model):
    together = gradients_of(model, conversation())
    alone = [gradients_of(model, [r]) for r in conversation()]
    for name, gradient in together.items():
        summed = sum(found[name] for found in alone)
        error = (gradient - summed).norm() / summed.norm()
        assert error < 1e-3, f"{name}: {error}"


def test_context_is_computed_once_for_all_decisions(model):
    """A token of the conversation goes through the model once, chosen and rejected answers share it."""
    seen: list[int] = []
    hook = model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    with torch.no_grad():
        frozen_hidden(model, conversation())
    hook.remove()
    decisions = sum(len(r.lead) + len(r.answer) - 1 for r in conversation())
    assert sum(seen) == 150 + 30 + decisions


def test_long_context_agrees_with_the_full_pass(tiny_qwen35_path):
    model, _ = load_model(tiny_qwen35_path, torch.float32)
    batch = [row(draw(8200)[:n], draw(5, n)) for n in (8200, 4100, 8199)]
    with torch.no_grad():
        expected = sum(full_loss(model, [r]) for r in batch).item()
        assert frozen_loss(model, batch).item() == pytest.approx(expected, rel=1e-5)


def test_long_contexts_that_begin_alike_have_the_gradient_of_each_alone(tiny_qwen35_path):
    model, _ = load_model(tiny_qwen35_path, torch.float32)
    for parameter in trainable(model).values():
        parameter.requires_grad_(True)
    batch = [row(draw(8200)[:n], draw(5, n)) for n in (8200, 8192)]
    together, alone = gradients_of(model, batch), [gradients_of(model, [r]) for r in batch]
    for name, gradient in together.items():
        summed = sum(found[name] for found in alone)
        assert (gradient - summed).norm() <= 1e-3 * summed.norm(), name


def test_attention_by_mask_has_the_gradient_of_attention_by_run(model, monkeypatch):
    """As on a GPU: torch's own attention under a mask instead of `learner.attention`."""
    batch = [*conversation(), *rows()]
    assert frozen._reads_by_run(model)
    by_run = gradients_of(model, batch)
    monkeypatch.setattr(model.config, "_attn_implementation", "sdpa")
    assert not frozen._reads_by_run(model)
    by_mask = gradients_of(model, batch)
    for name, gradient in by_mask.items():
        assert (gradient - by_run[name]).norm() <= 1e-3 * by_run[name].norm(), name


def test_model_is_as_it_was_afterwards(model):
    before = [m.forward.__qualname__ for m in model.modules() if hasattr(m, "conv1d")]
    with torch.no_grad():
        frozen_hidden(model, rows())
    assert before == [m.forward.__qualname__ for m in model.modules() if hasattr(m, "conv1d")]


def test_gated_delta_rule_is_that_of_the_naive_recurrence():
    """What the passes compute with on a CPU, against the reference that flash-linear-attention tests with."""
    folder = Path(next(iter(find_spec("fla").submodule_search_locations)))
    spec = spec_from_file_location("naive", folder / "ops" / "gated_delta_rule" / "naive.py")
    naive = module_from_spec(spec)
    spec.loader.exec_module(naive)
    torch.manual_seed(0)
    q, k, v = (torch.randn(2, 70, 3, 16) for _ in range(3))
    q, k = F.normalize(q, dim=-1), F.normalize(k, dim=-1)
    beta, g, state = torch.rand(2, 70, 3), -torch.rand(2, 70, 3), torch.randn(2, 3, 16, 16)
    expected = naive.naive_recurrent_gated_delta_rule(
        q, k, v, beta=beta, g=g, initial_state=state, output_final_state=True
    )
    found = torch_chunk_gated_delta_rule(
        q, k, v, g=g, beta=beta, initial_state=state, output_final_state=True
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kernels_of_flash_linear_attention_give_the_loss_of_the_cpu(tiny_qwen35_path):
    losses = []
    for device in ("cpu", "cuda"):
        model, _ = load_model(tiny_qwen35_path, torch.float32)
        model.to(device)
        with torch.no_grad():
            losses.append(frozen_loss(model, conversation()).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


@pytest.mark.parametrize("mixed", [True, False])
def test_sliding_windows_hide_what_they_hide_in_the_full_pass(mixed):
    common = {"vocab_size": 40_100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "sliding_window": 16}
    torch.manual_seed(0)
    if mixed:
        layers = {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
        small = Qwen2ForCausalLM(Qwen2Config(**common, **heads, **layers, attn_implementation="sdpa"))
    else:
        small = MistralForCausalLM(MistralConfig(**common, **heads, attn_implementation="sdpa"))
    with torch.no_grad():
        expected = full_loss(small, [*conversation(), *rows()]).item()
        assert frozen_loss(small, [*conversation(), *rows()]).item() == pytest.approx(expected, rel=1e-5)
        assert frozen_loss(small, rows()[:1]).item() == pytest.approx(
            full_loss(small, rows()[:1]).item(), rel=1e-5
        )
