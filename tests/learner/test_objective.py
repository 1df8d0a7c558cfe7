"""The loss of each kind of row, against the same written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from learner.model import load_model
from learner.objective import batch_losses, kl_to_base, log_probs, row_loss
from learner.tokens import Row
from policies.config import TrainingConfig

CONFIG = TrainingConfig(
    deviation_weight=8.0, margin_weight=0.5, margin=2.0, kl_weight=0.7, replay_kl_weight=0.7
)
LOGITS = torch.randn(3, 11, generator=torch.Generator().manual_seed(0))
BASE = F.log_softmax(torch.randn(3, 11, generator=torch.Generator().manual_seed(1)), -1)


def row(kind, first=1, weight=1.0) -> Row:
    against = None if first is None else 9
    return Row("e", kind, (1,), (2,), (4, 5, 6), (False, True, False), first, against, weight)


def margin() -> float:
    return 0.5 * math.log1p(math.exp(2.0 - (LOGITS[1, 5] - LOGITS[1, 9]).item()))


def test_correction_is_likelihood_with_weight_on_what_deviates():
    tokens = -F.log_softmax(LOGITS, -1)[range(3), [4, 5, 6]]
    expected = (tokens[0] + 8 * tokens[1] + tokens[2]).item() / 10
    assert row_loss(LOGITS, row("correction", first=None), None, CONFIG).item() == pytest.approx(expected)
    assert row_loss(LOGITS, row("correction"), None, CONFIG).item() == pytest.approx(expected + margin())


def test_twin_is_kl_with_the_same_weights_and_a_margin():
    tokens = (BASE.exp() * (BASE - F.log_softmax(LOGITS, -1))).sum(-1)
    expected = 0.7 * (tokens[0] + 8 * tokens[1] + tokens[2]).item() / 10 + margin()
    assert row_loss(LOGITS, row("twin"), BASE, CONFIG).item() == pytest.approx(expected, rel=1e-5)


def test_general_is_kl_alone():
    general = Row("e", "general", (1,), (2,), (4, 5, 6), (False,) * 3)
    expected = 0.7 * F.kl_div(F.log_softmax(LOGITS, -1), BASE, reduction="batchmean", log_target=True).item()
    assert row_loss(LOGITS, general, BASE, CONFIG).item() == pytest.approx(expected, rel=1e-5)


def test_weight_of_the_example_scales_its_loss():
    single, double = (row_loss(LOGITS, row("correction", weight=w), None, CONFIG) for w in (1.0, 2.0))
    assert double.item() == pytest.approx(2 * single.item())


def test_kl_is_zero_with_zero_gradient_at_the_base():
    logits = LOGITS.clone().requires_grad_(True)
    kl = kl_to_base(logits, F.log_softmax(LOGITS, -1).half())
    kl.sum().backward()
    assert kl.abs().max() < 0.01
    assert logits.grad.abs().max() < 0.01


def test_row_that_needs_the_base_does_not_go_without():
    with pytest.raises(ValueError, match="example e is a twin row"):
        row_loss(LOGITS, row("twin"), None, CONFIG)


def test_batch_gives_each_row_its_own_logits(tiny_qwen35_path):
    model, _ = load_model(tiny_qwen35_path, torch.float32)
    rows = [row("correction"), Row("f", "general", (7, 8, 9), (1, 2), (3, 4), (False, False)), row("twin")]
    references = log_probs(model, rows)
    vocabulary = model.config.vocab_size
    assert [tuple(r.shape) for r in references] == [(3, vocabulary), (2, vocabulary), (3, vocabulary)]
    with torch.no_grad():
        together = batch_losses(model, rows, references, CONFIG)
        alone = [batch_losses(model, [r], [ref], CONFIG) for r, ref in zip(rows, references, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-3)
    assert together[1].abs() < 0.01
