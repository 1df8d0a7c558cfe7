"""The learner against a real server: a round, a rollback, a crash, all on the live bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from small_system import unmatchable_baseline

from learner.archive import Archive
from learner.base_model import model_hash
from learner.commands import carry_out
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.model import load_model
from learner.probing.material import ProbeMaterial, load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import follows
from learner.rounds import Rounds
from learner.trainer import Trainer
from policies.config import Config, GuardConfig, TrainingConfig, TrustConfig
from policies.example import Example
from policies.messages import CommandPayload
from store import backoff, commands, examples, reviews, steps, versions
from store.database import Store, open_store

CONFIG = Config(
    training=TrainingConfig(uses_per_example=2, max_decision_tokens=24, max_replay_tokens=8),
    guard=GuardConfig(every_steps=2, keep_versions=2),
)


@dataclass
class Bench:
    """A learner taken apart: everything around one attachment to the session's server."""

    store: Store
    live: LiveWeights
    trainer: Trainer
    lineage: Lineage
    rounds: Rounds
    before: str


@pytest.fixture(scope="module")
def trainer_and_suite(smollm2_path: Path) -> tuple[Trainer, ProbeSuite]:
    model, tokenizer = load_model(smollm2_path)
    base, _ = load_model(smollm2_path)
    material = load_material()
    few = ProbeMaterial(facts=material.facts[:8], texts=material.texts[:2], prompts=material.prompts[:2])
    suite = ProbeSuite(model, base, tokenizer, few, follows, 24)
    return Trainer(model, tokenizer, base, CONFIG.training, 0), suite


@pytest.fixture
def bench(
    smollm2_server: object, trainer_and_suite: tuple[Trainer, ProbeSuite], tmp_path: Path
) -> Iterator[Bench]:
    """A fresh store on the base weights; the live bytes and the position are put back at the end."""
    trainer, suite = trainer_and_suite
    server = smollm2_server
    live = LiveWeights.attach(server.arena)  # type: ignore[attr-defined]
    before, position = live.fingerprint(), live.position()
    store = open_store(tmp_path / "home")
    archive = Archive(tmp_path / "versions", server.model_dir, model_hash(server.model_dir))  # type: ignore[attr-defined]
    lineage = Lineage(store, archive, live, trainer, CONFIG.guard)
    rounds = Rounds(store, CONFIG, live, trainer, suite, lineage)
    lineage.settle()
    base = lineage.version
    with store.write() as connection:
        for index in range(4):
            examples.add_general_example(connection, _general(index))
    rounds.measure("baseline")
    yield Bench(store, live, trainer, lineage, rounds, before)
    with live.publishing(position.version, position.step):
        for name, tensor in archive.tensors(base, list(trainer.parameters)):
            live.write(name, tensor)
    assert live.fingerprint() == before
    live.close()
    store.close()


def _general(index: int) -> Example:
    context = ({"role": "user", "content": f"What is the number {index}?"},)
    return Example(id=f"g{index}", kind="general", context=context, chosen="It is a number.", origin="base")


DIRECTION = 'Reply only with JSON of the form {"answer": "..."}.'


def correct(
    store: Store,
    *ids: str,
    chosen: str = '{"answer": "A lake is water."}',
    direction: str = DIRECTION,
    **fields: Any,
) -> None:
    question = {"role": "user", "content": "What is a lake?"}
    with store.write() as connection:
        for example_id in ids:
            example = Example(
                id=example_id,
                kind="correction",
                direction=direction,
                context=({"role": "system", "content": direction}, question),
                twin_context=(question,),
                chosen=chosen,
                rejected="A lake is a body of water.",
                origin="correction",
                **fields,
            )
            examples.upsert_correction_example(connection, example, CONFIG.training.uses_per_example)


def test_a_round_changes_the_live_bytes_and_each_correction_counts_its_quota(bench: Bench) -> None:
    correct(bench.store, "e1", "e2")
    with bench.store.write() as connection:  # as after two breaches
        for _ in range(2):
            backoff.back_off(connection, bench.store, CONFIG.guard)
    bench.rounds.run(lambda: False)
    assert backoff.factor(bench.store) == CONFIG.guard.backoff**2 * CONFIG.guard.recovery
    assert bench.live.fingerprint() != bench.before
    assert examples.pending(bench.store) == []
    assert {row["replay_share"] for row in bench.store.rows("SELECT replay_share FROM steps")} == {0.25}
    version = bench.lineage.version
    assert version.kind == "train"
    assert version.fingerprint == bench.live.fingerprint()
    assert bench.live.position().version == version.id
    assert bench.live.position().step == steps.last_confirmed(bench.store) == 2


def test_what_a_probe_asks_is_never_replayed(bench: Bench) -> None:
    fact = f" {load_material().facts[0].question.upper()}"
    context = ({"role": "system", "content": "Be kind."}, {"role": "user", "content": fact})
    asked = Example(id="o1", kind="general", context=context, chosen="Yes.", origin="ordinary")
    correct(bench.store, "e1", "e2")
    with bench.store.write() as connection:
        examples.add_general_example(connection, asked)
    bench.rounds.run(lambda: False)
    replayed = bench.store.rows("SELECT DISTINCT example_id AS id FROM step_rows WHERE kind = 'general'")
    assert {row["id"] for row in replayed} <= {"g0", "g1", "g2", "g3"}


def test_a_later_round_reminds_of_an_earlier_rule_which_a_rollback_does_not_blame(bench: Bench) -> None:
    correct(bench.store, "e1", "e2")
    bench.rounds.run(lambda: False)
    first = bench.lineage.version
    later = [f"n{number}" for number in range(6)]
    correct(bench.store, *later, direction="Answer in one word.", chosen="Water.")
    bench.rounds.run(lambda: False)
    of_kind = "SELECT DISTINCT example_id AS id FROM step_rows WHERE kind = '{}' ORDER BY id"
    reminded = [row["id"] for row in bench.store.rows(of_kind.format("reminder"))]
    assert reminded
    assert set(reminded) <= {"e1", "e2"}
    shares = bench.store.rows("SELECT replay_share FROM steps")
    assert {row["replay_share"] for row in shares} == {0.25}
    assert [one.example.id for one in examples.learned_earlier(bench.store, 9)][-1] in reminded
    undone = bench.lineage.roll_back(first, "by hand")
    assert undone.quarantined == 6
    assert {one.id for one in examples.ready(bench.store)} == {"e1", "e2"}


def test_a_rollback_by_hand_restores_every_byte_and_quarantines(bench: Bench) -> None:
    correct(bench.store, "e1", "e2")
    bench.rounds.run(lambda: False)
    command = CommandPayload(event_id="c1", command="rollback")
    with bench.store.write() as connection:
        commands.insert(connection, "a", command)
    carry_out(bench.store, command, bench.lineage, bench.rounds)
    ended = commands.outcome(bench.store, "c1")
    assert ended is not None
    assert (ended[0], ended[1]["bit_for_bit"], ended[1]["quarantined"]) == ("done", True, 2)
    assert bench.live.fingerprint() == bench.before
    assert examples.pending(bench.store) == []
    for parameter, live in ((p, bench.live.read(n)) for n, p in list(bench.trainer.parameters.items())[:5]):
        assert torch.equal(parameter.detach(), live.float())


def test_a_breach_is_undone_bit_for_bit_and_said(bench: Bench) -> None:
    correct(bench.store, "e1", "e2")
    unmatchable_baseline(bench.store, 0.01)
    bench.rounds.run(lambda: False)
    assert bench.live.fingerprint() == bench.before
    assert bench.lineage.version.kind == "rollback"
    assert [
        row["state"] for row in bench.store.rows("SELECT state FROM examples WHERE kind = 'correction'")
    ] == [
        "quarantined",
        "quarantined",
    ]
    said = [row["payload"] for row in bench.store.rows("SELECT payload FROM outbox")]
    assert any('"type":"rollback"' in payload and '"bit_for_bit":true' in payload for payload in said)
    assert any("breach: nll worse" in payload and "learning rate times 0.5" in payload for payload in said)
    assert backoff.factor(bench.store) == CONFIG.guard.backoff


def test_a_step_cut_off_in_the_middle_is_undone_and_done_again(bench: Bench) -> None:
    correct(bench.store, "e1", "e2")
    bench.rounds.run(lambda: False)
    durable = bench.live.fingerprint()
    correct(bench.store, "e3")
    version = bench.lineage.version
    with bench.store.write() as connection:
        steps.begin(connection, version.id, 1e-4, [("correction", "e3"), ("general", "g0")])
    name = "model.layers.3.mlp.down_proj.weight"

    def killed_while_writing() -> None:
        with bench.live.publishing(version.id, 3):
            bench.live.write(name, bench.live.read(name) * 2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed_while_writing()
    bench.lineage.settle()
    assert bench.live.fingerprint() == durable
    assert [usable.uses for usable in examples.pending(bench.store)] == [0]
    bench.rounds.run(lambda: False)
    assert examples.pending(bench.store) == []


def test_a_step_that_is_not_finite_touches_nothing_and_its_cause_is_quarantined(bench: Bench) -> None:
    correct(bench.store, "e1")
    name, parameter = next(iter(bench.trainer.parameters.items()))
    healthy = parameter.detach().clone()
    with torch.no_grad():
        parameter[0] = float("nan")
    bench.rounds.run(lambda: False)
    with torch.no_grad():
        parameter.copy_(healthy)
    assert bench.live.fingerprint() == bench.before
    assert {row["state"] for row in bench.store.rows("SELECT state FROM steps")} == {"dropped"}
    assert examples.pending(bench.store) == []
    assert "not finite" in bench.store.rows("SELECT detail FROM steps")[0]["detail"]
    assert name


def correct_as_a_stranger(store: Store, name: str) -> None:
    """Write a correction whose sender is known and not trusted, and whose loss stands out."""
    with store.write() as connection:
        connection.execute(
            "INSERT INTO events (event_id, agent, conversation_id, role, content, ts, source, received)"
            " VALUES (?, 'a', 'c', 'assistant', 'A lake is a body of water.', 1, 'mqtt', 1)",
            (name,),
        )
        connection.execute("INSERT INTO decisions VALUES (?, 'c', ?, 0, 1)", (f"{name}#0", name))
    correct(store, name, decision_id=f"{name}#0", weight=1e6)


def test_a_step_with_an_outlier_is_not_applied_and_the_rest_of_it_trains_on(bench: Bench) -> None:
    strict = CONFIG.model_copy(update={"trust": TrustConfig(default="normal", outlier_after=4)})
    suite = bench.rounds._suite
    rounds = Rounds(bench.store, strict, bench.live, bench.trainer, suite, bench.lineage)
    correct(bench.store, "e1", "e2", "e3", "e4")
    rounds.run(lambda: False)
    learned, decided = bench.live.fingerprint(), steps.decided(bench.store)
    correct_as_a_stranger(bench.store, "odd")
    correct(bench.store, "e5")
    rounds.run(lambda: steps.decided(bench.store) > decided)
    (dropped,) = bench.store.rows("SELECT * FROM steps ORDER BY id DESC LIMIT 1")
    batch = bench.store.rows("SELECT example_id FROM step_rows WHERE step_id = ?", (dropped["id"],))
    assert {"odd", "e5"} <= {row["example_id"] for row in batch}
    assert dropped["state"] == "dropped"
    assert "held odd: its loss of" in dropped["detail"]
    assert bench.live.fingerprint() == learned
    assert [usable.example.id for usable in examples.pending(bench.store)] == ["e5"]

    rounds.run(lambda: False)
    assert examples.pending(bench.store) == []
    assert bench.live.fingerprint() != learned
    assert [row["id"] for row in reviews.waiting(bench.store)] == ["odd"]
    assert steps.trained(bench.store, ["odd", "e5"]) == {"e5"}
    said = [row["payload"] for row in bench.store.rows("SELECT payload FROM outbox")]
    assert sum("held for review" in payload and "odd" in payload for payload in said) == 1


def test_old_version_files_are_retired_but_never_the_one_in_force(bench: Bench) -> None:
    for index in range(4):
        correct(bench.store, f"e{index}")
        bench.rounds.run(lambda: False)
    kept = [version for version in versions.every(bench.store) if version.state == "good" and version.file]
    files = {path.name for path in bench.lineage._archive.folder.glob("*.version")}
    assert {version.file for version in kept} == files
    assert bench.lineage.version.file in files
    assert len(files) == CONFIG.guard.keep_versions
