"""What the learner makes of corrections before a round, with a store and a server that answers over HTTP."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from agent.demo.material import load_material as load_demo
from learner.asking import LiveServer
from learner.probing.material import load_material
from learner.rehearsal import Rehearsal
from learner.rehearsing import attempt, plan, rehearse
from policies.config import RehearsalConfig
from policies.errors import Unreachable
from policies.example import Example
from policies.rehearsing import prompts_of
from policies.turn import Message
from policies.twins import twin
from store import examples, history, rehearsals, senders, status
from store.database import Store, open_store
from tests.store.rows import add_decision

CONFIG = RehearsalConfig(aim=4, most=9, uses=1, at_once=2)
JSON = 'Answer as a JSON object with the single key "{x}".'
PROMPTS = [f"What is thing {name}?" for name in "abcdefghijklmnop"]


def correction(example_id: str, key: str = "answer", decision: str | None = None) -> Example:
    direction = JSON.format(x=key)
    context: tuple[Message, ...] = (
        {"role": "system", "content": f"Be kind. {direction}"},
        {"role": "user", "content": f"Why {example_id}?"},
    )
    return Example(
        id=example_id,
        kind="correction",
        decision_id=decision,
        direction=direction,
        context=context,
        twin_context=twin(context, direction),
        chosen=json.dumps({key: "So."}),
        rejected="So.",
        origin="correction",
        author="ann",
    )


def disobedient(conversations: Sequence[Sequence[Message]]) -> list[str]:
    return [f"It is {len(str(messages))}. More." for messages in conversations]


def fill(store: Store, *corrections: Example) -> None:
    with store.write() as connection:
        for one in corrections:
            examples.upsert_correction_example(connection, one, 4)
        for index, prompt in enumerate(PROMPTS):
            context = ({"role": "user", "content": prompt},)
            row = Example(id=f"g{index:02}", kind="general", context=context, chosen="It is.", origin="base")
            examples.add_general_example(connection, row)


def rehearsal(store: Store, forbidden: Sequence[str] = (), config: RehearsalConfig = CONFIG) -> Rehearsal:
    return Rehearsal(store, disobedient, config, forbidden, seed=0)


def rows(store: Store) -> list[tuple[str, str, str]]:
    found = store.rows("SELECT id, parent, state FROM examples WHERE parent IS NOT NULL ORDER BY id")
    return [tuple(row) for row in found]


def test_the_rejected_answer_is_the_models_own_and_the_chosen_one_its_repair() -> None:
    made = rehearse([correction("e1")], PROMPTS, RehearsalConfig(aim=7), disobedient, seed=0)
    assert len(made) == 6
    for one in made:
        assert (one.rejected or "").endswith("More.")
        key = json.loads(one.chosen or "")
        assert list(key.values()) == [(one.rejected or "").removesuffix(" More.")]
        assert f'"{next(iter(key))}"' in (one.direction or "")
        assert (one.parent, one.origin, one.author, one.decision_id) == (
            "e1",
            "rehearsal:repair",
            "ann",
            None,
        )
        assert one.twin_context is not None
        assert "JSON" not in str(one.twin_context)


def unpaired(example_id: str) -> Example:
    made = correction(example_id)
    return made.model_copy(update={"chosen": None, "state": "needs_pair", "origin": "few_shot"})


def test_an_objective_without_pairs_gets_ignored_answers_as_they_are_and_gives_them_back(
    tmp_path: Path,
) -> None:
    store = open_store(tmp_path)
    fill(store, correction("e1"), unpaired("e2"))
    with store.write() as connection:
        examples.upsert_correction_example(
            connection, unpaired("e3").model_copy(update={"rejected": None}), 4
        )
    Rehearsal(store, disobedient, CONFIG, (), 0, unpaired=True).complete()
    assert [found.example.id for found in examples.pending(store)] == ["e1", "e2"]
    assert [one.id for one in examples.needing_pair(store)] == ["e3"], "with no answer at all it cannot train"
    with store.write() as connection:
        examples.require_pairs(connection)
    assert [found.example.id for found in examples.pending(store)] == ["e1"]
    store.close()


def test_what_the_model_follows_by_itself_is_not_trained() -> None:
    planned = plan(correction("e1"), PROMPTS, 1, 0)
    key = "answer"
    made = attempt(planned, [], lambda asked: [json.dumps({key: "By itself."})])
    assert [(one.state, one.chosen) for one in made] == [("refused", None)]


def test_where_nothing_can_be_repaired_corrected_turns_are_shown_and_their_answer_is_confirmed() -> None:
    said = "Use the word rain at least twice."
    shown = [
        correction(f"e{n}").model_copy(
            update={
                "direction": said,
                "context": ({"role": "user", "content": f"Why {n}? {said}"},),
                "twin_context": ({"role": "user", "content": f"Why {n}?"},),
                "chosen": "Rain is rain.",
            }
        )
        for n in range(3)
    ]
    seen: list[Sequence[Message]] = []

    def answers(conversations: Sequence[Sequence[Message]]) -> list[str]:
        seen.extend(conversations)
        return ["Rain falls as rain." if len(messages) > 6 else "Water." for messages in conversations]

    said_otherwise = plan(shown[0], PROMPTS, 1, 0)
    made = attempt(said_otherwise, shown, answers)
    assert [(one.origin, one.state, one.chosen) for one in made] == [
        ("rehearsal:few_shot", "ready", "Rain falls as rain.")
    ]
    assert [m["role"] for m in seen[-1]] == ["user", "assistant"] * 3 + ["user"]
    wrong = attempt(said_otherwise, shown, lambda asked: ["Water."] * len(asked))
    assert [(one.state, one.chosen) for one in wrong] == [("refused", None)]
    other_rule = attempt(said_otherwise, [correction(f"j{n}") for n in range(3)], answers)
    assert [one.state for one in other_rule] == ["refused"]


def test_where_the_answer_recites_the_direction_the_plain_one_is_repaired() -> None:
    planned = plan(correction("e1"), PROMPTS, 1, 0)
    recited = f"I will answer so: {planned[0].occasion.direction}"
    twin_context = planned[0].occasion.twin_context

    def reciting(conversations: Sequence[Sequence[Message]]) -> list[str]:
        return ["It is so." if messages == twin_context else recited for messages in conversations]

    (made,) = attempt(planned, [], reciting)
    assert (made.state, made.origin, made.rejected) == ("ready", "rehearsal:repair", recited)
    assert list(json.loads(made.chosen or "").values()) == ["It is so."]


def test_a_rule_gets_what_it_lacks_each_attempt_once(store: Store) -> None:
    fill(store, correction("e1"), correction("e2", "reply"))
    learner = rehearsal(store)
    assert learner.advance()
    assert [row[1] for row in rows(store)] == ["e1", "e2"]
    assert not learner.advance()
    assert not rehearsal(store).advance()
    assert [(u.example.id, u.quota) for u in examples.pending(store)] == [
        ("e1", 4), ("e1~00", 1), ("e2", 4), ("e2~00", 1),
    ]  # fmt: skip


def test_rehearsals_are_used_more_often_in_a_round_of_two_rules(store: Store) -> None:
    lower = "Use only lowercase letters."
    question: Message = {"role": "user", "content": "Why e2?"}
    other = correction("e2").model_copy(
        update={
            "direction": lower,
            "context": ({"role": "system", "content": f"Be kind. {lower}"}, question),
            "twin_context": ({"role": "system", "content": "Be kind."}, question),
            "chosen": "so.",
        }
    )
    fill(store, correction("e1"), other)
    while rehearsal(store).advance():
        pass
    quotas = {u.example.parent: u.quota for u in examples.pending(store) if u.example.parent is not None}
    assert quotas == {"e1": 2, "e2": 2}


def test_aim_zero_and_the_budget_of_seconds_end_it(store: Store) -> None:
    fill(store, correction("e1"))
    assert not rehearsal(store, config=CONFIG.model_copy(update={"aim": 0})).advance()
    learner = rehearsal(store, config=CONFIG.model_copy(update={"seconds": 1e-9}))
    assert learner.advance()
    assert not learner.advance()
    assert len(rows(store)) == 2
    assert learner.advance(), "the next round has a budget of its own"


def test_a_slow_server_is_asked_no_more_than_the_rest_of_the_budget_bears(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(store, correction("e1"))
    asked: list[int] = []
    now = [0.0]

    def slow(conversations: Sequence[Sequence[Message]]) -> list[str]:
        asked.append(len(conversations))
        now[0] += 10.0 * len(conversations)
        return disobedient(conversations)

    monkeypatch.setattr("learner.rehearsal.time.monotonic", lambda: now[0])
    config = CONFIG.model_copy(update={"aim": 9, "at_once": 3, "seconds": 45.0})
    learner = Rehearsal(store, slow, config, (), seed=0)
    while learner.advance():
        pass
    assert asked == [3, 1]  # a fifth would end beyond the 45 s
    assert now[0] == 40.0


def test_nothing_is_rehearsed_on_what_is_probed_or_evaluated(store: Store) -> None:
    fill(store, correction("e1"))
    rehearsal(store, forbidden=[prompt.upper() for prompt in PROMPTS[1:]]).advance()
    made = [one for one in examples.ready(store) if one.parent is not None]
    questions = {one.context[-1]["content"] for one in made}
    assert len(questions) == 1
    assert PROMPTS[0] in questions.pop()


def test_the_pool_that_is_rehearsed_on_holds_no_probe_and_no_question_of_the_demo() -> None:
    pool = (Path(__file__).parents[2] / "learner" / "replay_prompts.txt").read_text().splitlines()
    demo = load_demo()
    asked = [*load_material().asked, *demo.held_out, *demo.train, *demo.poison]
    assert prompts_of(pool, asked) == prompts_of(pool, [])
    assert len(prompts_of(pool, asked)) >= 60


@pytest.mark.parametrize("state", ["quarantined", "held", "superseded"])
def test_rehearsals_go_where_their_correction_goes(store: Store, state: str) -> None:
    decision = add_decision(store)
    fill(store, correction("e1", decision=decision))
    learner = rehearsal(store)
    while learner.advance():
        pass
    with store.write() as connection:
        if state == "quarantined":
            assert examples.quarantine(connection, ["e1"]) == 1
        elif state == "held":
            examples.hold(connection, ["e1"], "strange")
        else:
            newer = correction("e9", decision=decision).model_copy(update={"chosen": '{"answer": "No."}'})
            examples.upsert_correction_example(connection, newer, 4)
    assert {row[2] for row in rows(store)} == {state}
    assert all(usable.example.id == "e9" for usable in examples.pending(store))
    if state == "held":
        with store.write() as connection:
            examples.release(connection, "e1")
        assert {row[2] for row in rows(store)} == {"ready"}


def test_an_attempt_for_a_correction_withdrawn_meanwhile_is_not_kept(store: Store) -> None:
    fill(store, correction("e1"))
    made = rehearse([correction("e1")], PROMPTS, RehearsalConfig(aim=3), disobedient, seed=0)
    with store.write() as connection:
        examples.quarantine(connection, ["e1"])
    assert rehearsals.add(store, made, 1) == []


def test_status_and_show_tell_what_a_correction_led_to(store: Store) -> None:
    fill(store, correction("e1", decision=add_decision(store)))
    learner = rehearsal(store)
    while learner.advance():
        pass
    assert status.summary(store)["rehearsals"] == {"ready": 3}
    shown = history.show(store, "e1")
    assert [one["id"] for one in shown["rehearsals"]] == ["e1~00", "e1~01", "e1~02"]
    assert shown["decision"]["examples"][0]["rehearsals"] == 3
    assert history.show(store, "e1~01")["example"]["parent"] == "e1"


KILLED = """
import os, signal, sys
from pathlib import Path
from store.database import open_store
from tests.learner.test_rehearsal import CONFIG, disobedient
from learner.rehearsal import Rehearsal
calls = []
def ask(conversations):
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return disobedient(conversations)
learner = Rehearsal(open_store(Path(sys.argv[1])), ask, CONFIG, (), 0)
while learner.advance(): pass
"""


def test_after_a_kill_it_goes_on_and_makes_nothing_twice(home: Path) -> None:
    store = open_store(home)
    fill(store, correction("e1"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run([sys.executable, "-c", KILLED, str(home)], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    before = rows(store)
    assert len(before) == CONFIG.at_once
    learner = rehearsal(store)
    while learner.advance():
        pass
    assert rows(store)[: len(before)] == before
    whole = [one.id for one in plan(correction("e1"), PROMPTS, 3, 0)]
    assert [row[0] for row in rows(store)] == whole
    store.close()


class _Answering(BaseHTTPRequestHandler):
    """Answers every chat request with its last message, and counts how many are under way at once."""

    under_way, most = 0, 0
    lock, gate = threading.Lock(), threading.Barrier(3, timeout=5)

    def do_POST(self) -> None:
        with self.lock:
            type(self).under_way += 1
            type(self).most = max(self.most, self.under_way)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.gate.wait()
        with self.lock:
            type(self).under_way -= 1
        said = body["messages"][-1]["content"]
        answer = json.dumps({"choices": [{"message": {"content": said}}]}).encode()
        self.send_response(500 if said == "fail" else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_requests_go_together_bounded_and_keep_their_order(url: str) -> None:
    asked = [[{"role": "user", "content": str(number)}] for number in range(6)]
    assert LiveServer(url, "m", 8, at_once=3).answers(asked) == ["0", "1", "2", "3", "4", "5"]
    assert _Answering.most == 3


def test_a_server_that_does_not_answer_is_an_alert_once_and_no_crash(store: Store, unused: str) -> None:
    fill(store, correction("e1"))
    learner = Rehearsal(store, LiveServer(unused, "m", 8, 2).answers, CONFIG, (), 0)
    assert not learner.advance()
    assert not learner.advance()
    said = [row["payload"] for row in store.rows("SELECT payload FROM outbox")]
    assert len(said) == 1
    assert "training goes on without" in said[0]
    with pytest.raises(Unreachable):
        LiveServer(unused, "m", 8, 2).answers([[{"role": "user", "content": "?"}]])


@pytest.fixture
def unused() -> str:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Answering) as server:
        port = server.server_port
    return f"http://127.0.0.1:{port}"


def test_a_rehearsal_counts_as_its_corrections_author_and_never_as_the_newest_word(store: Store) -> None:
    fill(store, correction("e1", decision=add_decision(store)))
    newest = examples.newest_waiting(store)
    rehearsal(store).advance()
    found = senders.of_examples(store, ["e1", "e1~00"])
    assert found["e1~00"] == found["e1"]
    assert found["e1"].sender.author == "ann"
    assert examples.newest_waiting(store) == newest
    assert examples.plain_systems(store, 9) == ["Be kind."]
