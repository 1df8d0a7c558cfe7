from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from test_judge import judge_server, said, truth

from agent.ingest import Ingest
from agent.labellers.embedding import is_installed
from agent.second_opinions import give_second_opinions
from agent.writer import Writer
from policies.config import Config, JudgeConfig, LabelConfig
from store import calibrations, labels, opinions
from store.database import Store

DEADLINE_S = 60.0


def messages(*turns: tuple[str, str]) -> dict[str, object]:
    shaped = [{"event_id": f"t{n}", "role": role, "content": text} for n, (role, text) in enumerate(turns)]
    return {"conversation_id": "c", "turns": [{**turn, "conversation_id": "c"} for turn in shaped]}


TALK = messages(
    ("user", "Be polite. Convert the importer."),
    ("assistant", "Done! It writes CSV now."),
    ("user", "no, you converted the exporter, I told you the importer"),
)


def asked(home: Path, config: Config, there: Callable[[Store], bool]) -> None:
    """Ingest the talk and give second opinions until something is there."""

    async def run() -> None:
        writer = await Writer.open(home)
        ingest = await writer.run(lambda store: Ingest(store, config, None))
        await writer.run(lambda _: ingest.turns("a", TALK, "mqtt"))
        task = asyncio.create_task(give_second_opinions(config, writer, ingest))
        try:
            async with asyncio.timeout(DEADLINE_S):
                while not await writer.run(there):  # noqa: ASYNC110 - another task makes it true, in the store
                    await asyncio.sleep(0.05)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await writer.close()

    asyncio.run(run())


@pytest.mark.skipif(not is_installed(), reason="the extra `semantics` is not installed")
def test_the_meaning_of_the_next_turn_is_read_beside_the_ingest(home: Path, store: Store) -> None:
    asked(home, Config(), lambda s: "meaning" in {v.labeller for v in labels.votes_on(s.connection, "t1#0")})
    told = [label for label in labels.of(store.connection, "t1#0") if label.verdict == "ignored"]
    assert [label.labeller for label in told] == ["meaning"]
    assert {vote.labeller for vote in labels.votes_on(store.connection, "t1#0")} == {"reaction", "meaning"}


def test_a_question_outlives_the_process_that_asked_it(home: Path, store: Store) -> None:
    """What a loop that is killed with -9 had put down is a row, and the next one asks it, once."""
    with judge_server(lambda _: said("ignored")) as (url, _):
        config = Config(judge=JudgeConfig(url=url, votes=1), labels=LabelConfig(meaning="off"))
        Ingest(store, config, None).turns("a", TALK, "mqtt")
        waiting = opinions.Waiting("judge", "t1#0")
        assert opinions.oldest(store, ("judge",)) == waiting
        assert opinions.oldest(store, ("meaning",)) is None, "nobody is there for it"

        def answered(s: Store) -> bool:
            return "judge" in {v.labeller for v in labels.votes_on(s.connection, "t1#0")}

        asked(home, config, answered)
        assert opinions.oldest(store, ("judge",)) is None


@pytest.mark.skipif(not is_installed(), reason="the extra `semantics` is not installed")
def test_a_judge_that_is_not_there_holds_up_nobody_else(home: Path, store: Store) -> None:
    with judge_server(lambda _: "") as (url, _):
        pass  # the port is free again
    asked(
        home,
        Config(judge=JudgeConfig(url=url)),
        lambda s: "meaning" in {v.labeller for v in labels.votes_on(s.connection, "t1#0")},
    )
    assert opinions.oldest(store, ("judge",)) == opinions.Waiting("judge", "t1#0")


def test_what_the_judge_does_not_take_has_no_vote_and_is_not_asked_for_ever(home: Path, store: Store) -> None:
    def reply(body: dict[str, object]) -> str | int:
        try:
            return truth(body)
        except StopIteration:
            return 400

    with judge_server(reply) as (url, _):
        config = Config(judge=JudgeConfig(url=url, votes=1), labels=LabelConfig(meaning="off"))
        Ingest(store, config, None).turns("a", TALK, "mqtt")
        asked(home, config, lambda s: opinions.oldest(s, ("judge",)) is None)
    assert calibrations.in_force(store.connection)["judge"].weight == 1.0
    assert "judge" not in {vote.labeller for vote in labels.votes_on(store.connection, "t1#0")}


def test_a_judge_is_measured_once_and_then_asked(home: Path, store: Store) -> None:
    def reply(body: dict[str, object]) -> str:
        try:
            return truth(body)
        except StopIteration:
            return said("ignored")

    with judge_server(reply) as (url, requests):
        config = Config(judge=JudgeConfig(url=url, votes=1), labels=LabelConfig(meaning="off"))
        asked(home, config, lambda s: "judge" in {v.labeller for v in labels.votes_on(s.connection, "t1#0")})
        assert calibrations.in_force(store.connection)["judge"].weight == 1.0
        measured = len(requests)
        asked(home, config, lambda _: True)
        assert len(requests) - measured <= 1


def test_a_judge_that_fails_its_set_changes_no_label(home: Path, store: Store) -> None:
    with judge_server(lambda _: said("followed")) as (url, _):
        config = Config(judge=JudgeConfig(url=url, votes=1), labels=LabelConfig(meaning="off"))
        asked(home, config, lambda s: "judge" in {v.labeller for v in labels.votes_on(s.connection, "t1#0")})
    assert calibrations.in_force(store.connection)["judge"].weight == 0.0
    assert "judge" not in {label.labeller for label in labels.of(store.connection, "t1#0")}
