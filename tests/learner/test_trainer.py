"""The trainer on the real small model: it learns, and what it must not touch stays untouched."""

import json
import weakref

import pytest
import torch

from learner.generation import greedy
from learner.model import load_model
from learner.objectives import Want, log_probs
from learner.tokens import end_token, prompt_of
from learner.trainer import Trainer, TrainerState
from policies.config import TrainingConfig
from policies.errors import ConfigError, InputError
from policies.example import Example

SYSTEM = "Answer in one sentence."
RULE = 'Reply as a JSON object with the single key "say".'
CONFIG = TrainingConfig(rank=16)


@pytest.fixture(scope="module")
def base(smollm2_path):
    return load_model(smollm2_path)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def tiny(request, tiny_qwen35_path):
    """A trainer of the tiny model and the weights it started with."""
    return tiny_trainer(tiny_qwen35_path, request.param)


def tiny_trainer(path, dtype=torch.float32, config=CONFIG, **kwargs) -> Trainer:
    model, tokenizer = load_model(path, dtype)
    return Trainer(model, tokenizer, load_model(path, dtype)[0], config, seed=0, **kwargs)


def asked(question: str, system: str = SYSTEM) -> tuple[dict[str, str], ...]:
    return ({"role": "system", "content": system}, {"role": "user", "content": question})


def correction(name: str, question: str, answer: str, **fields) -> Example:
    return Example(
        id=name,
        kind="correction",
        direction=RULE,
        context=asked(question, f"{SYSTEM} {RULE}"),
        twin_context=asked(question),
        chosen=json.dumps({"say": answer}),
        rejected=answer,
        origin="correction",
        **fields,
    )


def general(name: str = "g", question: str = "What is a lake?") -> Example:
    return Example(
        id=name, kind="general", context=asked(question), chosen="A lake is still water.", origin="base"
    )


FACTS = {
    "What is snow?": "Snow is frozen water that falls from clouds.",
    "Why do we sleep?": "We sleep to rest the body and the mind.",
}


def batch(trainer: Trainer) -> list:
    examples = [correction(q, q, a) for q, a in FACTS.items()]
    trainer.prepare([*examples, general()])
    (one, twin), (two, _), (replay,) = (trainer.rows_for(e) for e in [*examples, general()])
    return [one, two, twin, replay]


def snapshot(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.parameters.items()}


def step(trainer: Trainer, rows: list, rate: float = 1e-3) -> dict[str, torch.Tensor]:
    written: dict[str, torch.Tensor] = {}
    trainer.apply(trainer.backward(rows), rate, lambda name, value: written.update({name: value.clone()}))
    return written


def test_a_correction_gives_itself_and_a_twin_with_the_answer_of_the_base(smollm2_path):
    model, tokenizer = load_model(smollm2_path)
    trainer = Trainer(model, tokenizer, model, CONFIG, seed=0)
    example = correction("c", "What is snow?", FACTS["What is snow?"])
    own, twin = trainer.rows_for(example)
    end = end_token(tokenizer)
    prompt = prompt_of(tokenizer, example.twin_context, 1000)
    answer = greedy(model, [prompt.ids], CONFIG.max_replay_tokens, {end})[0]
    assert (own.kind, twin.kind) == ("correction", "twin")
    assert tokenizer.decode(own.answer) == '{"say": "Snow is frozen water that falls from clouds."}<|im_end|>'
    assert (own.first, tokenizer.decode(own.against)) == (0, "Snow")
    assert (twin.context, twin.lead, twin.answer) == (prompt.context, prompt.header, answer.ids)
    assert RULE in tokenizer.decode(own.context)
    assert RULE not in tokenizer.decode(twin.context)


def test_trainers_of_one_base_ask_it_once_and_learn_the_same(tiny_qwen35_path):
    shared: dict[tuple[int, ...], tuple[int, ...]] = {}
    first, second = (tiny_trainer(tiny_qwen35_path, twin_answers=shared) for _ in range(2))
    written = step(first, batch(first))
    answers = dict(shared)
    assert len(answers) == len(FACTS)
    again = step(second, batch(second))
    assert shared == answers
    assert written.keys() == again.keys()
    assert all(torch.equal(written[name], again[name]) for name in written)


def test_an_answer_to_a_twin_that_is_known_is_not_asked_for(tiny_qwen35_path):
    example = correction("c", "What is snow?", FACTS["What is snow?"])
    tokenizer = tiny_trainer(tiny_qwen35_path).tokenizer
    prompt = tuple(prompt_of(tokenizer, example.twin_context, CONFIG.max_context_tokens).ids)
    trainer = tiny_trainer(tiny_qwen35_path, twin_answers={prompt: (5, 6, 7)})
    _, twin = trainer.rows_for(example)
    assert twin.answer == (5, 6, 7)


def test_a_step_changes_all_layers_and_no_embedding(tiny):
    ends = [tiny.model.get_input_embeddings().weight, tiny.model.get_output_embeddings().weight]
    before, before_ends = snapshot(tiny), [end.clone() for end in ends]
    written = step(tiny, batch(tiny), rate=0.1)
    changed = {n for n, p in tiny.parameters.items() if not torch.equal(p, before[n])}
    assert changed == set(written) == set(tiny.parameters)
    assert {"proj", "norm", "A_log", "dt_bias", "conv1d"} == {
        part
        for part in ("proj", "norm", "A_log", "dt_bias", "conv1d", "embed")
        if any(part in n for n in changed)
    }
    assert all(torch.equal(a, b) for a, b in zip(ends, before_ends, strict=True))


def test_only_tensors_that_changed_are_written(tiny):
    before = snapshot(tiny)
    written = step(tiny, batch(tiny), rate=1e-5)
    changed = {n for n, p in tiny.parameters.items() if not torch.equal(p, before[n])}
    assert set(written) == changed
    assert 0 < len(changed) < len(tiny.parameters)


def test_parameters_hold_exactly_what_was_written(tiny):
    for _ in range(3):
        written = step(tiny, batch(tiny))
        for name, value in written.items():
            assert value.dtype == torch.bfloat16
            assert torch.equal(tiny.parameters[name].float(), value.float())


@pytest.mark.parametrize("keep", [True, False])
def test_steps_below_an_ulp_are_not_lost(tiny_qwen35_path, keep):
    trainer = tiny_trainer(tiny_qwen35_path, keep_remainder=keep)
    name = "model.layers.1.mlp.up_proj.weight"
    start = trainer.parameters[name].detach().clone()
    for _ in range(4):
        step(trainer, batch(trainer)[:1], rate=2e-5)
    moved = trainer.parameters[name].detach() - start + (trainer._remainders[name] if keep else 0)
    exact = tiny_trainer(tiny_qwen35_path)
    update = torch.zeros_like(start)
    for _ in range(4):
        gradients = exact.backward(batch(exact)[:1])
        for other, gradient in gradients.tensors.items():
            delta = exact.optimizer.update(other, gradient, 2e-5)
            exact.parameters[other].data += delta
            update += delta if other == name else 0
    assert torch.nn.functional.cosine_similarity(moved.flatten(), update.flatten(), 0) > (
        0.95 if keep else 0.2
    )
    assert (moved * update).sum() / update.square().sum() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("gradients", ["whole", "in_backward"])
@pytest.mark.parametrize("poison", ["loss", "first gradient", "last gradient"])
def test_batch_that_is_not_finite_touches_nothing(tiny_qwen35_path, poison, gradients):
    config = CONFIG.model_copy(update={"gradients": gradients})
    tiny = tiny_trainer(tiny_qwen35_path, torch.bfloat16, config)
    rows = batch(tiny)
    step(tiny, rows)
    before, state = snapshot(tiny), tiny.state()
    hook = None
    if poison == "loss":
        tiny.model.get_output_embeddings().weight.data[7] = float("nan")
    else:
        # backward comes to the last norm first, and to the first one last
        name = "model.norm.weight" if poison == "first gradient" else "model.layers.0.input_layernorm.weight"
        hook = tiny.parameters[name].register_hook(lambda g: g * float("inf"))
    found = tiny.backward(rows)
    assert not found.finite
    with pytest.raises(ValueError, match="cannot be applied"):
        tiny.apply(found, 1e-3, lambda name, value: pytest.fail(f"wrote {name}"))
    assert all(torch.equal(p, before[n]) for n, p in tiny.parameters.items())
    assert same(tiny.state(), state)
    if hook is not None:
        hook.remove()
        assert tiny.backward(rows).finite


def same(one: TrainerState, other: TrainerState) -> bool:
    tensors = one.tensors.keys() == other.tensors.keys() and all(
        torch.equal(value, other.tensors[name]) for name, value in one.tensors.items()
    )
    return tensors and one.numbers == other.numbers


@pytest.mark.parametrize(("dtype", "keep"), [(torch.float32, True), (torch.bfloat16, False)])
def test_gradients_applied_in_backward_give_the_bytes_of_whole_ones(tiny_qwen35_path, dtype, keep):
    trainers = [
        tiny_trainer(
            tiny_qwen35_path, dtype, CONFIG.model_copy(update={"gradients": way}), keep_remainder=keep
        )
        for way in ("whole", "in_backward")
    ]
    for _ in range(2):
        written = [step(trainer, batch(trainer)) for trainer in trainers]
        assert written[0].keys() == written[1].keys()
        assert all(torch.equal(value, written[1][name]) for name, value in written[0].items())
    assert same(trainers[0].state(), trainers[1].state())


def test_one_gradient_is_alive_at_a_time_in_backward(tiny_qwen35_path, monkeypatch):
    trainer = tiny_trainer(tiny_qwen35_path, config=CONFIG.model_copy(update={"gradients": "in_backward"}))
    found = trainer.backward(batch(trainer))
    assert not found.tensors
    earlier: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []
    take = trainer.optimizer.step

    def look(name: str, gradient: torch.Tensor, rate: float):
        alive.append(sum(one() is not None for one in earlier))
        earlier.append(weakref.ref(gradient))
        return take(name, gradient, rate)

    monkeypatch.setattr(trainer.optimizer, "step", look)
    trainer.apply(found, 0.1, lambda name, value: None)
    assert len(alive) == len(trainer.parameters)
    assert max(alive) == 0  # those before the one that is applied are gone


def test_gradients_are_whole_on_a_cpu_unless_asked(tiny_qwen35_path):
    trainer = tiny_trainer(tiny_qwen35_path)
    assert trainer.backward(batch(trainer)).tensors.keys() == trainer.parameters.keys()


@pytest.mark.parametrize("keep", [True, False])
def test_restored_trainer_goes_on_bit_for_bit(tiny_qwen35_path, tmp_path, keep):
    trainer = tiny_trainer(tiny_qwen35_path, torch.bfloat16, keep_remainder=keep)
    for _ in range(2):
        step(trainer, batch(trainer), rate=1e-4)
    live, state = snapshot(trainer), trainer.state()
    torch.save(state.tensors, tmp_path / "tensors")
    numbers = json.dumps(state.numbers)
    expected = [step(trainer, batch(trainer), rate=1e-4) for _ in range(3)]

    resumed = tiny_trainer(tiny_qwen35_path, torch.bfloat16, keep_remainder=keep)
    resumed.reload(lambda name: live[name])
    resumed.restore(TrainerState(torch.load(tmp_path / "tensors", weights_only=True), json.loads(numbers)))
    for written in expected:
        again = step(resumed, batch(resumed), rate=1e-4)
        assert written.keys() == again.keys()
        assert all(torch.equal(value, again[name]) for name, value in written.items())
    assert same(trainer.state(), resumed.state())


def test_state_of_another_setting_is_refused_and_touches_nothing(tiny_qwen35_path):
    trainer = tiny_trainer(tiny_qwen35_path)
    step(trainer, batch(trainer))
    before = trainer.state()
    for other in (
        tiny_trainer(tiny_qwen35_path, keep_remainder=False),
        tiny_trainer(tiny_qwen35_path, config=CONFIG.model_copy(update={"rank": 8})),
        tiny_trainer(tiny_qwen35_path, config=CONFIG.model_copy(update={"parameters": "gates"})),
    ):
        with pytest.raises(ConfigError, match=r"does not fit|on one side only|rank"):
            trainer.restore(other.state())
    assert same(trainer.state(), before)


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("queries", {"q_proj"}),
        ("gates", {"in_proj_a", "in_proj_b", "A_log", "dt_bias"}),
        (r"layers\.1\.mlp", {"gate_proj", "up_proj", "down_proj"}),
        (r"embed_tokens|lm_head", {"embed_tokens", "lm_head"}),
    ],
)
def test_only_the_chosen_parameters_learn(tiny_qwen35_path, which, expected):
    trainer = tiny_trainer(tiny_qwen35_path, config=CONFIG.model_copy(update={"parameters": which}))
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    written = step(trainer, batch(trainer), rate=0.1)
    moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(written) == set(trainer.parameters)
    assert {part for n in moved for part in n.split(".") if part in expected} == expected
    assert all(any(part in n for part in expected) for n in moved)


@pytest.mark.parametrize("which", ["nothing_like_it", "("])
def test_pattern_that_chooses_nothing_is_refused(tiny_qwen35_path, which):
    with pytest.raises(ConfigError, match=r"training\.parameters"):
        tiny_trainer(tiny_qwen35_path, config=CONFIG.model_copy(update={"parameters": which}))


def test_reload_takes_the_live_bytes_and_starts_afresh(tiny):
    live = {name: value.clone() for name, value in snapshot(tiny).items()}
    rows = batch(tiny)
    first = step(tiny, rows)
    step(tiny, rows)
    tiny.reload(lambda name: live[name])
    assert all(torch.equal(p, live[n]) for n, p in tiny.parameters.items())
    again = step(tiny, rows)
    assert first.keys() == again.keys()
    assert all(torch.equal(first[n], again[n]) for n in first)


def test_base_log_probabilities_are_kept_and_bounded(tiny_qwen35_path):
    trainer = tiny_trainer(tiny_qwen35_path, kept_references=2)
    rows = [trainer.rows_for(general(f"g{i}", f"What is number {i}?"))[0] for i in range(4)]
    assert trainer.backward(rows).loss == pytest.approx(0.0, abs=1e-3)
    trainer.warm(rows[:1])
    trainer.warm([trainer.rows_for(general("new", "What is a sea?"))[0]])
    assert len(trainer.row_book.references) == 2
    assert Want(rows[0]) in trainer.row_book.references
    trainer.keep_only(["g0", "never seen"])
    assert trainer.row_book.example_ids == {"g0"}
    assert trainer.row_book.references.keys() == {Want(rows[0])}


def test_the_base_is_kept_as_what_its_lm_head_gets(tiny_qwen35_path):
    trainer = tiny_trainer(tiny_qwen35_path)
    twin = trainer.rows_for(correction("e", "What is snow?", "Frozen water."))[1]
    plain = trainer.rows_for(general("g", "What is a sea?"))[0]
    trainer.warm([twin, plain])
    for row in (twin, plain):
        kept, found = trainer.row_book.references[Want(row)], trainer.row_book.reference(row)
        assert kept.shape == (len(row.answer), trainer.base.config.hidden_size)
        assert not found.requires_grad
        (expected,) = log_probs(trainer.base, [row])
        assert torch.allclose(found, expected.float(), atol=0.02)


def test_examples_that_cannot_be_trained_on_are_named_and_the_others_prepared(tiny_qwen35_path):
    trainer = tiny_trainer(tiny_qwen35_path)
    good = correction("good", "What is snow?", "Frozen water.")
    empty = good.model_copy(update={"id": "empty", "chosen": None})
    long = good.model_copy(update={"id": "long", "context": asked("word " * 2000)})
    with pytest.raises(InputError, match="empty"):
        trainer.prepare([empty, long, good])
    assert len(trainer.rows_for(good)) == 2
    with pytest.raises(InputError, match=r"long.*max_context_tokens"):
        trainer.rows_for(long)


def test_a_few_steps_teach_the_direction_and_keep_the_rest(base, smollm2_path):
    """One correction taken to heart: JSON with the direction, the old answer without it."""
    reference, tokenizer = base
    model, _ = load_model(smollm2_path)
    trainer = Trainer(model, tokenizer, reference, CONFIG, seed=0)
    rows = batch(trainer)
    for done in range(6):
        step(trainer, rows, rate=2e-4 * (1 - done / 6))
    prompts = [prompt_of(tokenizer, asked("What is ice?", s), 1000).ids for s in (f"{SYSTEM} {RULE}", SYSTEM)]
    directed, plain = (tokenizer.decode(a.ids) for a in greedy(model, prompts, 4, {end_token(tokenizer)}))
    assert directed.startswith('{"say"')
    assert not plain.startswith("{")


def decisions_of_one_conversation(tiny: Trainer) -> list:
    """Two corrected turns of a conversation and an ordinary one between, as rows of one batch."""
    talk = [*asked("What is snow?", f"{SYSTEM} {RULE} " + "Speak of nature. " * 10)]
    first = correction("a", "", FACTS["What is snow?"]).model_copy(update={"context": tuple(talk)})
    talk += [{"role": "assistant", "content": "Frozen water."}, {"role": "user", "content": "And ice?"}]
    ordinary = general("o").model_copy(update={"context": tuple(talk)})
    talk += [{"role": "assistant", "content": "That too."}, {"role": "user", "content": "And why sleep?"}]
    second = correction("b", "", FACTS["Why do we sleep?"]).model_copy(update={"context": tuple(talk)})
    examples = [e.model_copy(update={"twin_context": None}) for e in (first, ordinary, second)]
    return [tiny.rows_for(example)[0] for example in examples]


def test_rows_of_one_conversation_share_one_pass_with_the_losses_of_their_own(tiny_qwen35_path):
    tiny = tiny_trainer(tiny_qwen35_path)
    rows = decisions_of_one_conversation(tiny)
    tiny.warm(rows)
    seen: list[int] = []
    hook = tiny.model.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    together = tiny.backward(rows).row_losses
    hook.remove()
    decisions = sum(len(row.lead) + len(row.answer) - 1 for row in rows)
    assert sum(seen) == max(len(row.context) for row in rows) + decisions
    assert together == pytest.approx([tiny.backward([row]).loss for row in rows], rel=1e-4, abs=1e-5)
