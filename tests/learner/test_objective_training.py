"""Each objective through the trainer: which rows an example gives, and that steps do what it is for."""

import pytest
import torch

from learner.model import load_model
from learner.objectives import Want, log_probs
from learner.objectives.preference import rejected
from learner.trainer import Trainer
from policies.config import TrainingConfig
from policies.errors import InputError
from policies.example import Example

SYSTEM, RULE = "You are a clerk.", "Answer in lowercase letters only."
QUESTION = "What is snow?"
CHOSEN, REJECTED = "snow is frozen water.", "Snow is frozen water."


def trainer_of(path, objective, **fields) -> Trainer:
    config = TrainingConfig(rank=16, objective=objective, **fields)
    model, tokenizer = load_model(path, torch.float32)
    return Trainer(model, tokenizer, load_model(path, torch.float32)[0], config, seed=0)


def turns(system, user):
    return ({"role": "system", "content": system}, {"role": "user", "content": user})


def corrected(in_system=True, **fields) -> Example:
    told = turns(f"{SYSTEM} {RULE}", QUESTION) if in_system else turns(SYSTEM, f"{QUESTION} {RULE}")
    given = {"chosen": CHOSEN, "rejected": REJECTED, "twin_context": turns(SYSTEM, QUESTION)} | fields
    return Example(id="e", kind="correction", direction=RULE, context=told, origin="correction", **given)


def log_prob(trainer, row) -> float:
    return log_probs(trainer.model, [row], whole=False)[0].sum().item()


def train(trainer, rows, steps=4, rate=1e-3) -> list[float]:
    return [trainer.step(rows, rate, lambda name, tensor: None).loss for _ in range(steps)]


def test_preference_widens_the_distance_between_the_answers(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "preference")
    row = trainer.rows_for(corrected())[0]
    before = log_prob(trainer, row) - log_prob(trainer, rejected(row))
    losses = train(trainer, [row])
    assert log_prob(trainer, row) - log_prob(trainer, rejected(row)) > before + 0.1
    assert losses[-1] < losses[0]


def test_preference_takes_the_reference_of_a_pair_once_and_as_single_numbers(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "preference", reference="version")
    row = trainer.rows_for(corrected())[0]
    trainer.warm([row])
    first = {want: kept.clone() for want, kept in trainer.row_book.references.items() if want.own}
    assert {want.row for want in first} == {row, rejected(row)}
    assert all(kept.shape == (len(want.row.answer),) for want, kept in first.items())
    train(trainer, [row])
    assert all(torch.equal(trainer.row_book.references[want], kept) for want, kept in first.items())


def test_reload_forgets_what_was_taken_of_the_weights_before_it(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "preference", reference="version")
    row, twin = trainer.rows_for(corrected())
    trainer.warm([row, twin])
    live = {name: parameter.detach().clone() for name, parameter in trainer.parameters.items()}
    trainer.reload(live.__getitem__)
    assert list(trainer.row_book.references) == [Want(twin)]


def test_unpaired_learns_to_leave_an_answer_that_has_no_correction(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "unpaired")
    row = trainer.rows_for(corrected(chosen=None, twin_context=None))[0]
    assert row.unwanted
    before = log_prob(trainer, row)
    train(trainer, [row])
    assert log_prob(trainer, row) < before


def test_unpaired_learns_to_go_to_an_answer_that_was_followed(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "unpaired")
    row = trainer.rows_for(corrected(rejected=None, twin_context=None))[0]
    assert not row.unwanted
    before = log_prob(trainer, row)
    train(trainer, [row])
    assert log_prob(trainer, row) > before


def test_other_objectives_refuse_an_example_without_a_chosen_answer(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "preference")
    with pytest.raises(InputError, match="example e has no chosen answer"):
        trainer.rows_for(corrected(chosen=None))


def test_distillation_moves_the_own_answer_towards_the_model_that_knows_the_correction(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "distillation")
    row = trainer.rows_for(corrected())[0]
    assert trainer.tokenizer.decode(row.answer).startswith(REJECTED)
    shown = trainer.tokenizer.decode(row.hint)
    assert CHOSEN in shown
    assert CHOSEN not in trainer.tokenizer.decode(row.context)
    losses = train(trainer, [row], steps=6, rate=3e-5)
    assert 0 < losses[-1] < losses[0]


def test_distillation_needs_the_own_answer(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "distillation")
    with pytest.raises(InputError, match="example e has no rejected answer"):
        trainer.rows_for(corrected(rejected=None))


def test_stripping_takes_a_standing_direction_out_of_the_context_and_keeps_no_twin(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "stripping")
    (row,) = trainer.rows_for(corrected())
    assert RULE not in trainer.tokenizer.decode(row.context)
    assert QUESTION in trainer.tokenizer.decode(row.context)
    before = log_prob(trainer, row)
    train(trainer, [row])
    assert log_prob(trainer, row) > before


def test_stripping_leaves_a_direction_for_one_answer_where_it_is(tiny_qwen35_path):
    trainer = trainer_of(tiny_qwen35_path, "stripping")
    row, twin = trainer.rows_for(corrected(in_system=False))
    assert RULE in trainer.tokenizer.decode(row.context)
    assert twin.kind == "twin"
