"""The loss of each kind of row, against the same written out."""

import math

import pytest
import torch
import torch.nn.functional as F

from learner.model import load_model
from learner.objectives import Scored, Want, batch_losses, kl_to_base, log_probs, objective_of
from learner.objectives.preference import rejected
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


def row_loss(logits, given, reference, config):
    objective = objective_of(config)
    return objective.loss([Scored(given, logits, reference)])


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
        objective, of = objective_of(CONFIG), dict(zip(rows, references, strict=True))
        together = batch_losses(model, objective, rows, of.get)
        alone = [batch_losses(model, objective, [r], of.get) for r in rows]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-3)
    assert together[1].abs() < 0.01


PAIR = Row("e", "correction", (1,), (2,), (4, 5, 6), (False, True, False), 1, 9, weight=2.0, other=(4, 9, 6))
OTHER = torch.randn(3, 11, generator=torch.Generator().manual_seed(2))


def scored(given, logits, reference=None):
    return Scored(given, logits, reference)


def label_log_probs(logits, labels):
    return F.log_softmax(logits, -1)[range(len(labels)), list(labels)]


def test_rejected_is_the_same_row_with_the_answers_swapped():
    swapped = rejected(PAIR)
    assert (swapped.answer, swapped.other) == (PAIR.other, PAIR.answer)
    assert (swapped.context, swapped.lead) == (PAIR.context, PAIR.lead)
    assert (swapped.first, swapped.against) == (1, 5)


def test_preference_is_dpo_with_a_share_of_likelihood():
    config = TrainingConfig(objective="preference", preference_beta=0.3, preference_likelihood=0.25)
    objective = objective_of(config)
    chosen, other = label_log_probs(LOGITS, PAIR.answer), label_log_probs(OTHER, PAIR.other)
    before = [torch.tensor([-1.0, -2.0, -3.0]), torch.tensor([-0.5, -1.0, -1.5])]
    gained = (chosen - before[0]).sum() - (other - before[1]).sum()
    expected = 2.0 * (math.log1p(math.exp(-0.3 * gained.item())) - 0.25 * chosen.mean().item())
    pair = [
        scored(part, *rest)
        for part, rest in zip(objective.parts(PAIR), [(LOGITS, before[0]), (OTHER, before[1])], strict=True)
    ]
    assert objective.loss(pair).item() == pytest.approx(expected, rel=1e-5)
    assert objective.want(PAIR) == Want(PAIR, whole=False)


def test_preference_may_refer_to_the_version_in_force():
    objective = objective_of(TrainingConfig(objective="preference", reference="version"))
    assert objective.want(PAIR) == Want(PAIR, whole=False, own=True)
    assert objective.want(row("twin")) == Want(row("twin"))


def test_unpaired_counts_from_the_kl_and_needs_only_one_answer():
    config = TrainingConfig(objective="unpaired", preference_beta=0.3)
    objective = objective_of(config)
    now = F.log_softmax(LOGITS, -1)
    point = (now.exp() * (now - BASE)).sum().item()
    gained = (now - BASE)[range(3), [4, 5, 6]].sum().item()
    one = Row("e", "correction", (1,), (2,), (4, 5, 6), (False,) * 3)
    right, wrong = (
        objective.loss([scored(Row(**{**one.__dict__, "unwanted": bad}), LOGITS, BASE)]).item()
        for bad in (False, True)
    )
    assert right == pytest.approx(1 - 1 / (1 + math.exp(-0.3 * (gained - point))), rel=1e-4)
    assert right + wrong == pytest.approx(1.0, abs=1e-5)


def test_unpaired_at_the_base_has_a_gradient_towards_the_chosen_and_away_from_the_rejected():
    objective = objective_of(TrainingConfig(objective="unpaired"))
    logits = [LOGITS.clone().requires_grad_(True) for _ in range(2)]
    base = F.log_softmax(LOGITS, -1)
    parts = objective.parts(PAIR)
    objective.loss([scored(p, lg, base) for p, lg in zip(parts, logits, strict=True)]).backward()
    assert logits[0].grad[1, 5] < 0 < logits[1].grad[1, 9]


def test_distillation_is_zero_at_its_teacher_and_asks_the_model_with_the_hint():
    objective = objective_of(TrainingConfig(objective="distillation"))
    given = Row("e", "correction", (1,), (2,), (4, 5, 6), (False,) * 3, hint=(7, 8, 1))
    want = objective.want(given)
    assert want is not None
    assert (want.own, want.whole, want.row.context, want.row.answer) == (True, True, (7, 8, 1), given.answer)
    assert objective.loss([scored(given, LOGITS, F.log_softmax(LOGITS, -1))]).abs() < 1e-5
    kl = F.kl_div(BASE, F.log_softmax(LOGITS, -1), reduction="batchmean", log_target=True).item()
    assert objective.loss([scored(given, LOGITS, BASE)]).item() == pytest.approx(kl, rel=1e-4)


@pytest.mark.parametrize("name", ["preference", "unpaired", "distillation"])
def test_a_reference_that_is_missing_is_said(name):
    objective = objective_of(TrainingConfig(objective=name))
    with pytest.raises(ValueError, match="example e"):
        objective.loss([scored(part, LOGITS) for part in objective.parts(PAIR)])
