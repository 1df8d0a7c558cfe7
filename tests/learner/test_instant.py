"""The instant layer on a small system: corrections switch a vector on, the weights take it back."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from small_system import CONFIG, CORRECTIONS, System, correction_of
from steering_bench import MOST_NLL, Bench, steering_bench, steering_of
from torch import Tensor
from typer.testing import CliRunner

from learner import process
from learner.base_model import model_hash
from learner.probing.material import load_material
from learner.probing.scores import mean_nll
from learner.rounds import Rounds
from learner.steering import choice, general, making
from learner.steering.activations import steered
from learner.steering.file import EARLIER
from learner.steering.general import GeneralText
from learner.steering.instant import PASSAGES, InstantLayer, name_of
from learner.steering.live import AT_ONCE
from learner.steering.strength import MOST
from learner.verbs import steering
from policies.config import RehearsalConfig, SteeringConfig
from policies.errors import GuardRefused
from store import examples, state, versions

DIRECTION = "Answer in capitals."


def correct(system: System, name: str, direction: str = DIRECTION, rejected: str | None = "No.") -> None:
    """Write one more correction, newer than those that are there."""
    newer = correction_of(f"z{name}", f"What is a hill, {name}?", "A HILL IS HIGH", rejected, direction)
    with system.store.write() as connection:
        examples.upsert_correction_example(connection, newer, 2)


def nll_ratio(model: Any, tokenizer: Any, texts: Sequence[str], rows: Tensor) -> float:
    """How many times the NLL of texts under steering is that without."""
    before = mean_nll(model, tokenizer, texts)
    with steered(model, rows):
        return mean_nll(model, tokenizer, texts) / before


def alerts(system: System) -> list[str]:
    """What a person was told of instant vectors."""
    return [
        row["payload"]
        for row in system.store.rows("SELECT payload FROM outbox WHERE payload LIKE '%instant vector%'")
    ]


@pytest.fixture
def bench(model_dir: Path, tmp_path: Path, owner: Any) -> Iterator[Bench]:
    with steering_bench(model_dir, tmp_path, owner.process.pid) as opened:
        yield opened


def test_a_correction_switches_its_vector_on_before_anything_is_trained(bench: Bench) -> None:
    assert bench.silent()
    bench.instant.look()
    assert [slot.name for slot in bench.live.slots()] == [name_of(DIRECTION)]
    added = bench.rows()
    assert added[1].any()
    assert not added[0].any()
    version = versions.in_force(bench.system.store)
    assert version is not None
    assert version.kind == "steer"
    bench.instant.look()
    assert versions.in_force(bench.system.store) == version, "nothing new was corrected: nothing changes"


def test_only_corrections_make_a_vector(bench: Bench) -> None:
    parent = examples.ready(bench.system.store)[0]
    other = {"parent": parent.id, "decision_id": None, "direction": "Answer in small capitals."}
    rehearsed = parent.model_copy(update={"id": f"{parent.id}~00", **other})
    alone = {"decision_id": None, "direction": "Answer softly.", "origin": "followed", "rejected": None}
    followed = parent.model_copy(update={"id": "f", **alone})
    with bench.system.store.write() as connection:
        examples.insert(connection, rehearsed, 2)
        examples.insert(connection, followed, 2)
    bench.instant.look()
    assert [slot.name for slot in bench.live.slots()] == [name_of(DIRECTION)]
    assert alerts(bench.system) == []


def test_a_vector_is_as_strong_as_general_text_bears(bench: Bench) -> None:
    bench.instant.look()
    texts = sorted(load_material().drawn(0).texts, key=len)[:PASSAGES]
    ratio = nll_ratio(bench.system.model, bench.system.tokenizer, texts, bench.rows())
    strength = bench.live._vectors.open(name_of(DIRECTION)).strength
    assert 1.0 < ratio <= 1.12 or (strength == MOST and ratio <= 1.0)


def test_general_text_without_steering_is_read_once_for_each_state_of_the_weights(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, tokenizer, texts = bench.system.model, bench.system.tokenizer, load_material().drawn(0).texts
    shortest, rows, now = sorted(texts, key=len)[:2], torch.zeros(2, 64), ["as loaded"]
    rows[1] = torch.linspace(-5, 5, 64)
    asked, read, reading = GeneralText(model, tokenizer, texts, lambda: now[0]), [], general.text_nll

    def counted(model: Any, tokenizer: Any, texts: list[str]) -> dict[str, float]:
        read.append(len(texts))
        return reading(model, tokenizer, texts)

    monkeypatch.setattr(general, "text_nll", counted)
    assert asked.ratio(rows) == pytest.approx(nll_ratio(model, tokenizer, texts, rows), rel=1e-6)
    assert asked.ratio(rows, 2) == pytest.approx(nll_ratio(model, tokenizer, shortest, rows), rel=1e-6)
    assert read == [len(texts), len(texts), 2]
    now[0] = "trained"
    with torch.no_grad():
        model.model.norm.weight.mul_(1.5)
    assert asked.ratio(rows) == pytest.approx(nll_ratio(model, tokenizer, texts, rows), rel=1e-6) != 1.0
    assert read == [len(texts), len(texts), 2, len(texts), len(texts)]


def test_a_newer_correction_renews_the_vector_and_a_rollback_brings_the_old_one_back(bench: Bench) -> None:
    bench.instant.look()
    before, first = bench.system.lineage.version, bench.rows()
    correct(bench.system, "1")
    bench.instant.look()
    assert not torch.equal(bench.rows(), first)
    assert len(bench.live.slots()) == 1
    bench.system.lineage.roll_back(before, "by hand")
    bench.live.follow()
    assert torch.equal(bench.rows(), first)


def test_the_file_of_a_renewed_vector_goes_with_the_last_version_that_needs_it(bench: Bench) -> None:
    def earlier() -> list[str]:
        return [path.name for path in (bench.live._vectors.folder / EARLIER).glob("*")]

    bench.instant.look()
    (first,) = bench.live.slots()
    held = bench.system.lineage.version
    correct(bench.system, "1")
    bench.instant.look()
    assert earlier() == [f"{first.name}-{first.vector_id}.safetensors"], "a rollback needs it"
    with bench.system.store.write() as connection:
        versions.retire(connection, held.id)
    correct(bench.system, "2")
    bench.instant.look()
    assert [name for name in earlier() if str(first.vector_id) in name] == []
    assert len(earlier()) == 1


def test_a_refused_vector_is_told_once_and_tried_again_under_another_version(bench: Bench) -> None:
    tried: list[Tensor] = []

    def cost(rows: Tensor) -> float:
        tried.append(rows)
        return 2.0

    bench.judge.cost = cost
    correct(bench.system, "2", "Be brief.", rejected=None)
    bench.instant.look()
    first = len(tried)
    bench.instant.look()
    assert len(tried) == first, "under the same weights it would be refused again"
    told = alerts(bench.system)
    assert len(told) == 2
    assert any("general text" in one and DIRECTION in one for one in told)
    assert any("rejected answer" in one and "Be brief." in one for one in told)
    bench.judge.cost = lambda rows: 1.0
    bench.system.lineage.annotate("steer", "another version", lambda *_: None)
    bench.instant.look()
    assert [slot.name for slot in bench.live.slots()] == [name_of(DIRECTION)]
    assert len(alerts(bench.system)) == 2


def test_what_is_extracted_of_two_wordings_can_be_switched_on_and_trained(
    bench: Bench, model_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, other = bench.system.store.path.parent, "Only capitals, please."
    correct(bench.system, "3", other)
    correct(bench.system, "4", other, rejected=None)
    correct(bench.system, "5", "Be brief.")
    known = {"model_dir": str(model_dir), "model_hash": model_hash(model_dir), "model_name": "tiny"}
    with bench.system.store.write() as connection:
        state.put(connection, "serving", known | {"url": ""})
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    monkeypatch.setattr(making, "PROMPTS", 3)  # which strength is found does not matter here
    monkeypatch.setattr(choice, "COSTS", (1.06, 1.12))
    words = ["extract", "loud", "--direction", "CAPITALS", "--layer", "1", "--json"]
    done = CliRunner().invoke(steering.commands, words, catch_exceptions=False)
    assert f"of {DIRECTION!r}, {other!r}" in done.stderr
    bench.order(action="on", name="loud")
    told = bench.order(action="train", name="loud")
    assert (told["examples"], told["still_to_train"]) == (CORRECTIONS + 2, CORRECTIONS + 2)
    bench.system.learn()
    bench.probed(1.0)
    bench.instant.anneal()
    assert bench.silent()


def test_answers_are_asked_for_together_and_leave_what_is_on(bench: Bench) -> None:
    together = threading.Barrier(AT_ONCE, timeout=30)

    class Echo(BaseHTTPRequestHandler):
        """Answers, once as many are asked as may be, with the question."""

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            together.wait()
            answer = json.dumps({"choices": [{"message": asked["messages"][0]}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    bench.instant.look()
    before, known = bench.rows(), len(versions.every(bench.system.store))
    prompts = [f"question {number}" for number in range(2 * AT_ONCE)]
    arguments: dict[str, Any] = {"action": "try", "name": name_of(DIRECTION), "prompts": prompts}
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        live = steering_of(bench.system, bench.instant._vectors, bench.judge, url)
        told = bench.order(live, **arguments)
        server.shutdown()
    assert told == {"off": prompts, "on": prompts}
    assert torch.equal(bench.rows(), before)
    assert len(versions.every(bench.system.store)) == known
    assert "gives no answer" in bench.order(**arguments)["reason"]
    assert torch.equal(bench.rows(), before)


def test_the_serving_learner_steers_at_once_and_lets_go_when_the_weights_follow(
    bench: Bench, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = bench.system
    rules, practice = SteeringConfig(auto=True, most_nll=99), RehearsalConfig(aim=0)
    config = CONFIG.model_copy(update={"steering": rules, "rehearsal": practice})
    serving = process.Serving(
        url="http://127.0.0.1:1",
        model_name="tiny",
        model_dir=model_dir,
        model_hash=model_hash(model_dir),
        arena=tmp_path / "arena",
    )
    monkeypatch.setattr(process, "load_or_make", lambda *_: [])  # the store has what is replayed
    monkeypatch.setattr(InstantLayer, "_followed", lambda *_: 1.0)

    class Once(list[float]):
        """Nothing is due: the first time that the learner would wait for news, it is stopped."""

        def wait(self, seconds: float) -> None:
            self.append(seconds)

    once: Any = Once()
    on_at_baseline, measure = [], Rounds.measure

    def measured(rounds: Rounds, verdict: Any) -> Any:
        on_at_baseline.append(bool(live.slots()))
        return measure(rounds, verdict)

    monkeypatch.setattr(Rounds, "measure", measured)
    last: list[str] = []
    for owner, name in ((InstantLayer, "read_ahead"), (process.Pacer, "idle")):
        called = getattr(owner, name)
        told = lambda self, called=called, name=name: (last.append(name), called(self))  # noqa: E731
        monkeypatch.setattr(owner, name, told)
    with system.store.write() as connection:
        connection.execute("DELETE FROM probes")
    learner = process.Learner(system.store, config, serving, tmp_path / "home", once)
    live, instant = learner._steering(system.live, system.lineage, system.rounds)
    learner.serve(
        process.Attachment(system.live, system.lineage, system.rounds, live, instant, {}), once, once
    )
    assert last[-2:] == ["read_ahead", "idle"], "who waits does not count as working"
    assert on_at_baseline == [True], "a correction of before does not wait for the base to be measured"
    kinds = [(version.kind, version.note) for version in versions.every(system.store)]
    kinds_only = [kind for kind, _ in kinds]
    assert kinds_only.index("steer") < kinds_only.index("train")
    assert any("the weights follow it" in note for kind, note in kinds if kind == "steer")
    assert bench.silent()


def test_without_auto_nothing_is_switched_on(bench: Bench) -> None:
    bench.instant._config = SteeringConfig(auto=False)
    bench.instant.look()
    assert bench.silent()


def test_the_vector_falls_as_the_weights_follow_and_goes_when_they_do(bench: Bench) -> None:
    bench.instant.look()
    whole = bench.rows()
    bench.system.learn()
    bench.probed(0.0)
    bench.instant.anneal()
    assert torch.equal(bench.rows(), whole), "what the weights have not learned, the vector still does"
    bench.probed(0.5)
    bench.instant.anneal()
    torch.testing.assert_close(bench.rows().float(), 0.5 * whole.float(), rtol=0.01, atol=1e-6)
    assert [slot.scale for slot in bench.live.slots()] == [0.5]
    bench.probed(0.25)
    bench.instant.anneal()
    assert [slot.scale for slot in bench.live.slots()] == [0.5], "it never rises again"
    bench.probed(1.0)
    bench.instant.anneal()
    assert bench.silent()
    assert bench.live.slots() == []


def test_steer_train_lets_a_vector_made_by_hand_fall(bench: Bench) -> None:
    bench.instant.look()
    slot = bench.live.slots()[0].model_copy(update={"anneal": False})
    bench.live.on(slot)
    bench.system.learn()
    bench.probed(1.0)
    bench.instant.anneal()
    assert bench.live.slots() == [slot], "a vector that nobody handed over stays"
    done = bench.order(action="train", name=slot.name)
    assert done["examples"] > 0
    bench.instant.anneal()
    assert bench.silent()


def test_the_guard_turns_a_vector_off_that_new_weights_do_not_bear(bench: Bench) -> None:
    bench.instant.look()
    bench.system.learn()
    bench.judge.cost = lambda rows: MOST_NLL + 0.1
    bench.live.follow()
    assert bench.silent()
    assert bench.live.slots() == []
    version = versions.in_force(bench.system.store)
    assert version is not None
    assert "breach" in version.note
    told = bench.system.store.rows("SELECT payload FROM outbox WHERE payload LIKE '%steering off%'")
    assert len(told) == 1


def test_new_weights_that_bear_it_keep_it(bench: Bench) -> None:
    bench.instant.look()
    added = bench.rows()
    bench.system.learn()
    bench.live.follow()
    assert torch.equal(bench.rows(), added)


def test_a_vector_that_costs_too_much_comes_on_weaker_or_not_at_all(bench: Bench) -> None:
    norms: list[float] = []

    def cost(rows: Tensor) -> float:
        norms.append(float(rows.norm()))
        return 2.0 if norms[-1] > 0.5 * norms[0] else 1.2

    bench.judge.cost = cost
    bench.instant.look()
    assert len(norms) == 3, "1, 0.6, and 0.36 of the whole"
    assert bench.live.slots()[0].scale == pytest.approx(0.36)
    bench.judge.cost = lambda rows: float("nan")
    with pytest.raises(GuardRefused, match="general text"):
        bench.live.on(bench.live.slot(name_of(DIRECTION), 1.0))


def test_a_rollback_takes_the_vector_back_with_the_version(bench: Bench) -> None:
    before = bench.system.lineage.version
    bench.instant.look()
    assert not bench.silent()
    bench.system.lineage.roll_back(before, "by hand")
    bench.live.follow()
    assert bench.silent()
