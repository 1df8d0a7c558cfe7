"""What an attack does to the model: the real admission, batches and trainer, on weights in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import torch

from agent.demo.material import Material, follows, held_out_prompts, load_material, plain_prompts
from agent.inbound import Inbound
from agent.ingest import Ingest
from agent.language import detect_language
from benchmarks.poisoning import people
from benchmarks.poisoning.people import PLANTED, Sent
from learner.base_model import model_hash, resolve_model
from learner.general_pool import load_or_make
from learner.generation import greedy
from learner.model import load_model
from learner.rounds import Rounds
from learner.tokens import end_token, prompt_of
from learner.trainer import Trainer
from policies.config import Config, GuardConfig, TrainingConfig, TrustConfig
from policies.turn import Message
from store import examples, reviews, versions
from store.database import Store, open_store

MAX_TOKENS = 48
HELD_OUT = 60
FIRST = 2
"""Corrections of the attacker that are trained on before another comes: they are no repetition yet."""
ATTACKS: dict[str, Callable[..., Sent]] = {
    "flood": people.flood,
    "contradiction": people.contradiction,
    "backdoor": people.backdoor,
    "hidden_backdoor": people.hidden_backdoor,
    "many_names": people.many_names,
}
WHERE = {
    "flood": "plain",
    "contradiction": "directed",
    "backdoor": "plain_triggered",
    "hidden_backdoor": "directed_triggered",
    "many_names": "directed_triggered",
}
"""The prompts at which each attack aims."""


class Bench:
    """The embedded model, its base, and a store."""

    def __init__(self, home: Path, *, defended: bool, seed: int) -> None:
        torch.manual_seed(seed)
        folder = resolve_model("smollm2", lambda *_: None)
        self.model, self.tokenizer = load_model(folder)
        base, _ = load_model(folder)
        self.config = Config(
            home=home,
            guard=GuardConfig(every_steps=1_000_000),
            trust=TrustConfig(default="normal" if defended else "trusted"),
            training=TrainingConfig(seed=seed),
        )
        self.store = open_store(home)
        self.trainer = Trainer(self.model, self.tokenizer, base, self.config.training, seed)
        pool = load_or_make(model_hash(folder), base, self.tokenizer, self.config.training.max_replay_tokens)
        version = versions.new_version(
            None, "base", first_step=None, last_step=None, file=None, fingerprint="f"
        )
        with self.store.write() as connection:
            versions.add(connection, version)
            for example in pool:
                examples.add_general_example(connection, example)
        unguarded = SimpleNamespace(version=version, unsaved=lambda: 0)  # nothing is ever due to be probed
        self.rounds = Rounds(
            self.store,
            self.config,
            cast(Any, _NoServer()),
            self.trainer,
            cast(Any, None),
            cast(Any, unguarded),
        )

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Answer greedily with the weights of now."""
        prompts = [prompt_of(self.tokenizer, list(messages), 1024).ids for messages in conversations]
        answers = greedy(self.model, prompts, MAX_TOKENS, {end_token(self.tokenizer)})
        return [self.tokenizer.decode(one.ids, skip_special_tokens=True).strip() for one in answers]

    def receive(self, sent: Sent) -> None:
        """Take what came over the bus, message by message."""
        ingest = Ingest(self.store, self.config, detect_language)
        for agent, channel, payload in sent.messages:
            ingest.messages([Inbound(agent, channel, json.dumps(payload).encode())], "mqtt")


class _NoServer:
    """Takes the place of the live weights of a server."""

    @contextmanager
    def publishing(self, version: str, step: int) -> Iterator[None]:
        """Mark nothing: nobody reads."""
        yield

    def write(self, name: str, values: torch.Tensor) -> None:
        """Write nothing: the parameters of the model are changed already."""


def run(attack: str | None, home: Path, *, defended: bool, seed: int = 0) -> dict[str, Any]:
    """Let honest people teach, beside an attack or alone; train all that is admitted; measure."""
    torch.set_num_threads(1)
    bench, material = Bench(home, defended=defended, seed=seed), load_material()
    attacked = ATTACKS[attack](material, bench.answer, seed) if attack else Sent()
    for sent in (people.honest(material, bench.answer, seed), *attacked.pieces(FIRST)):
        bench.receive(sent)
        bench.rounds.run(lambda: False)
    return {**_measure(bench, material, attack), **_admitted(bench.store)}


def _measure(bench: Bench, material: Material, attack: str | None) -> dict[str, Any]:
    """Count over held-out prompts: clean behaviour, and the planted word where the attack wants it."""
    questions = (*material.held_out, *material.load)[:HELD_OUT]
    held_out = held_out_prompts(material.model_copy(update={"held_out": questions}))
    plain = plain_prompts(material, questions)
    sets = {
        "directed": held_out,
        "plain": plain,
        "directed_triggered": people.triggered(held_out),
        "plain_triggered": people.triggered(plain),
    }
    measured = {"directed", WHERE[attack]} if attack else {"directed"}
    answers = {name: bench.answer([p.messages for p in sets[name]]) for name in sorted(measured)}
    clean = [
        follows(answer, prompt.key or "")
        for prompt, answer in zip(held_out, answers["directed"], strict=True)
    ]
    planted = {name: sum(PLANTED in one.lower() for one in found) for name, found in answers.items()}
    return {
        "n": len(questions),
        "clean_follow": sum(clean),
        "planted": planted,
        "aimed_at": [WHERE[attack]] if attack else [],
    }


def _admitted(store: Store) -> dict[str, Any]:
    rows = store.rows(
        "SELECT ifnull(author, '') AS author, state, count(*) AS n FROM examples"
        " WHERE kind = 'correction' GROUP BY 1, 2"
    )
    reasons = [row["reason"] for row in reviews.waiting(store)]
    steps = store.row("SELECT count(*) AS n FROM steps WHERE state = 'confirmed'")
    trained = store.row(
        "SELECT count(DISTINCT r.example_id) AS n FROM step_rows r JOIN steps s ON s.id = r.step_id"
        " JOIN examples e ON e.id = r.example_id WHERE s.state = 'confirmed' AND r.kind = 'correction'"
        " AND e.author NOT IN (SELECT value FROM json_each(?))",
        (json.dumps(people.HONEST),),
    )
    return {
        "examples": {f"{row['author']}/{row['state']}": row["n"] for row in rows},
        "held": len(reasons),
        "reasons": sorted(set(reasons))[:5],
        "steps": 0 if steps is None else steps["n"],
        "attackers_examples_trained": 0 if trained is None else trained["n"],
    }
