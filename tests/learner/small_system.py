"""A learner in parts on a tiny model, in a process of its own: to be killed, and started again."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from learner.archive import Archive
from learner.base_model import model_hash
from learner.commands import answer_applied, carry_out
from learner.lineage import Lineage
from learner.live.arena import Arena, place
from learner.live.client import LiveWeights
from learner.live.control import PAGE, ControlPage
from learner.live.durable import apply_durable, read_durable
from learner.live.manifest import Checkpoint, Manifest, Run, TensorEntry, process_started, write_manifest
from learner.live.steering import silence
from learner.live.tensors import LiveTensors
from learner.model import load_model
from learner.probing.material import ProbeMaterial, load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import follows
from learner.rounds import Rounds
from learner.trainer import Trainer
from learner.vectors.library import Library
from learner.vectors.live import LiveVectors
from policies.config import Config, GuardConfig, TrainingConfig
from policies.example import Example
from store import commands, examples, probes, state
from store.database import Store, open_store
from store.probes import ProbeVerdict

CONFIG = Config(
    training=TrainingConfig(
        uses_per_example=2, max_decision_tokens=8, max_replay_tokens=4, rank=8, learning_rate=1e-3
    ),
    guard=GuardConfig(  # nothing that this model does is a breach
        every_steps=2,
        nll_increase=99,
        facts_drop=0.99,
        follow_drop=0.99,
        kl_to_base=99,
        leak=99,
        repetition=99,
        length_change=99,
        entropy_change=99,
    ),
)
CORRECTIONS = 8


def record_probes(store: Store, verdict: ProbeVerdict, scores: Mapping[str, Mapping[str, float]]) -> None:
    """Write down a probe run that nobody made."""
    with store.write() as connection:
        probes.add(
            connection, step_id=0, version_id=None, verdict=verdict, reason="", seconds=0, scores=scores
        )


def unmatchable_baseline(store: Store, nll: float) -> None:
    """Write down a baseline that nothing can match: whatever is probed next is a breach."""
    record_probes(store, "baseline", {"nll": dict.fromkeys(probes.baseline(store)["nll"], nll)})


def make_model(folder: Path, tokenizer_of: Path, *, tied: bool = True) -> Path:
    """Write a random Llama of two narrow layers with a real tokenizer; untied, it writes words."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(**sizes, vocab_size=len(tokenizer), num_key_value_heads=1, tie_word_embeddings=tied)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def serve(folder: Path, model_dir: Path, owner: int) -> str:
    """Make an arena as a starting server does, with its durable version in it; returns the version's id."""
    arena_folder, versions = folder / "arena", folder / "home" / "versions"
    arena_folder.mkdir(mode=0o700, exist_ok=True)
    versions.mkdir(mode=0o700, parents=True, exist_ok=True)
    with safe_open(model_dir / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    entries = {n: TensorEntry(offset=0, shape=tuple(t.shape), dtype="bfloat16") for n, t in tensors.items()}
    placed, used = place(entries, {n: t.nbytes for n, t in tensors.items()}, PAGE)
    reserved, nbytes = place({"": TensorEntry(offset=0, shape=(2, 64), dtype="bfloat16")}, {"": 256}, used)
    manifest = Manifest(
        generation=secrets.token_hex(8),
        model="tiny",
        model_hash=model_hash(model_dir),
        pid=owner,
        started=process_started(owner) or 0,
        nbytes=nbytes,
        prefix_caching=False,
        control=TensorEntry(offset=0, shape=(512,), dtype="int64"),
        steering=reserved[""],
        tensors=placed,
        hf={n: (Run(tensor=n, source=0, start=0, count=t.numel()),) for n, t in tensors.items()},
        checkpoint={n: Checkpoint(shape=tuple(t.shape), dtype="bfloat16") for n, t in tensors.items()},
    )
    arena = Arena.create(arena_folder, nbytes)
    silence(arena.tensor(manifest.steering))
    live = LiveTensors([(manifest, arena)])
    for name, tensor in tensors.items():
        live.write(name, tensor)
    durable = apply_durable(versions, read_durable(versions), manifest.model_hash, live)
    ControlPage(memoryview(arena.map)).format(manifest.generation, durable.version, durable.step)
    write_manifest(arena_folder, manifest)
    return durable.version


class System:
    """Everything around one attachment."""

    def __init__(self, folder: Path, model_dir: Path) -> None:
        self.store = open_store(folder / "home")
        model, tokenizer = load_model(model_dir, torch.float32)
        base, _ = load_model(model_dir, torch.float32)
        self.live = LiveWeights.attach(folder / "arena")
        self.model, self.tokenizer = model, tokenizer
        self.trainer = Trainer(model, tokenizer, base, CONFIG.training, 0)
        material = load_material()
        few = ProbeMaterial(facts=material.facts[:2], texts=material.texts[:1], prompts=material.prompts[:1])
        suite = ProbeSuite(model, base, tokenizer, few, follows, 8)
        hashed = model_hash(model_dir)
        self.archive = Archive(folder / "home" / "versions", model_dir, hashed)
        self.library = Library(folder / "home", hashed)
        self.lineage = Lineage(self.store, self.archive, self.live, self.trainer, CONFIG.guard)
        self.rounds = Rounds(self.store, CONFIG, self.live, self.trainer, suite, self.lineage)

    def learn(self) -> None:
        """Settle, and train until nothing waits."""
        self.lineage.settle()
        if not probes.baseline(self.store):
            self.rounds.measure("baseline")
        while examples.pending(self.store):
            self.rounds.run(lambda: False)
        self.rounds.run(lambda: False)

    def obey(self) -> None:
        """Settle, answer what a kill left unanswered, and carry out what waits."""
        self.lineage.settle()
        answer_applied(self.store, self.lineage)
        vectors = LiveVectors(
            self.store, self.archive, self.live, self.lineage, self.rounds, self.library
        ).handlers()
        for command in commands.waiting(self.store):
            carry_out(self.store, command, self.lineage, self.rounds, vectors)

    def close(self) -> None:
        """Let go of the arena and the store."""
        self.live.close()
        self.store.close()


def learned_system(folder: Path, tokenizer_of: Path) -> System:
    """Return a system that has learned all there is, and knows what it serves as after an `up`."""
    model_dir = make_model(folder / "model", tokenizer_of)
    serve(folder, model_dir, os.getpid())
    system = System(folder, model_dir)
    fill(system.store)
    serving = {"url": "", "model_name": "m", "model_dir": str(model_dir), "arena": str(folder / "arena")}
    with system.store.write() as connection:
        state.put(connection, "serving", serving | {"model_hash": model_hash(model_dir)})
    system.learn()
    return system


def correction_of(
    name: str, asked: str, chosen: str, rejected: str | None, direction: str = "Answer in capitals."
) -> Example:
    """Return a correction of an answer to one question, under a direction in the system turn."""
    question = {"role": "user", "content": asked}
    return Example(
        id=name,
        kind="correction",
        direction=direction,
        context=({"role": "system", "content": direction}, question),
        twin_context=(question,),
        chosen=chosen,
        rejected=rejected,
        origin="correction",
    )


def fill(store: Store) -> None:
    """Write what there is to learn: the same ids each time."""
    with store.write() as connection:
        for index in range(4):
            context = ({"role": "user", "content": f"What is the number {index}?"},)
            example = Example(
                id=f"g{index}", kind="general", context=context, chosen="It is a number.", origin="base"
            )
            examples.add_general_example(connection, example)
        for index in range(CORRECTIONS):
            asked, chosen = f"What is a lake, number {index}?", f"A LAKE IS WATER {index}"
            example = correction_of(f"e{index}", asked, chosen, "A lake is a body of water.")
            examples.upsert_correction_example(connection, example, CONFIG.training.uses_per_example)


def kill_at(system: System, call: str, count: int) -> None:
    """Have this process killed the `count`-th time that a method is called, before it does anything."""
    from store import steps, versions

    owners: dict[str, Any] = {"begin": steps, "confirm": steps, "add": versions}
    owners |= {"write": system.live, "mark": system.live, "save": system.archive}
    owners |= {"save_trainer": system.archive, "point": system.archive, "_record": system.rounds}
    owners |= {"_write_back": system.lineage, "finish": commands, "harms": system.rounds._causes}
    original: Callable[..., Any] = getattr(owners[call], call)
    reached = 0

    def counted(*arguments: Any, **named: Any) -> Any:
        nonlocal reached
        reached += 1
        if reached == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)

    setattr(owners[call], call, counted)
    system.rounds._write = system.live.write


def learn(folder: Path, model_dir: Path, kill: tuple[str, int] | None = None) -> None:
    """Train until nothing waits, and leave the fingerprint of the live weights in a file.

    The n-th time that the call named in `kill` is reached, the process kills itself with -9.
    """
    system = System(folder, model_dir)
    if kill is not None:
        system.lineage.settle()
        kill_at(system, *kill)
    system.learn()
    (folder / "fingerprint").write_text(system.live.fingerprint())
    system.close()


def obey(folder: Path, model_dir: Path, kill: tuple[str, int]) -> None:
    """Carry out the commands that wait, and be killed on the way as `learn` is."""
    system = System(folder, model_dir)
    kill_at(system, *kill)
    system.obey()
    system.close()


def in_process_of_its_own(call: Callable[..., None], *arguments: Any) -> int | None:
    """Do something in a process of its own. Returns its exit code, negative for a signal."""
    context = multiprocessing.get_context("forkserver")  # imports torch once for all of them
    context.set_forkserver_preload(["learner.process", "learner.vectors.live"])  # it does not find tests here
    process = context.Process(target=call, args=arguments)
    process.start()
    process.join()
    return process.exitcode
