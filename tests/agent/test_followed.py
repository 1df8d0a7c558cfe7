"""One followed log, a real file: every turn once, whatever happens to it. Time is the test's own."""

from __future__ import annotations

import json
import os
import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.formats.base import MAX_LINE
from agent.ingest import Ingest
from agent.language import detect_language
from agent.reading import read_file
from agent.sources.followed import HELD_S, QUIET_S, SETTLED_S, FollowedFile
from agent.sources.lines import CHUNK
from policies.config import Config
from policies.turn import Turn
from store import counters, dead_letters, offsets
from store.database import Store
from store.offsets import Offset

WAIT_S = 30.0


class Reader:
    """Reads files as the loop does, into a store of its own, by a clock that the test moves."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ingest = Ingest(store, Config(), detect_language)
        self.files: dict[Path, FollowedFile] = {}
        self.now = 0.0

    def read(self, path: Path) -> list[str]:
        """Return the event ids that are new in the store after reading a file to its end."""
        file = self.files.get(path) or self._file(path)
        before = len(event_ids(self.store))
        while (piece := file.read(self.now)) is not None:
            self.ingest.piece("a", piece)
        return event_ids(self.store)[before:]

    def _file(self, path: Path) -> FollowedFile:
        status = path.stat()
        identity = (status.st_dev, status.st_ino)
        places = {place.identity: place for place in offsets.known(self.store)}
        self.files[path] = FollowedFile(path, places.get(identity, Offset(*identity, str(path))))
        return self.files[path]


@pytest.fixture
def reader(store: Store) -> Reader:
    return Reader(store)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "agent.jsonl"
    path.touch()
    return path


def turn(event_id: str, role: str = "user", content: str = "x", conversation: str = "c") -> str:
    return json.dumps(
        {"event_id": event_id, "conversation_id": conversation, "role": role, "content": content}
    )


def lines(*event_ids: str) -> str:
    return "".join(turn(one) + "\n" for one in event_ids)


def append(path: Path, text: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(text)


def event_ids(store: Store) -> list[str]:
    return [row[0] for row in store.rows("SELECT event_id FROM events ORDER BY seq")]


def alerts(store: Store) -> list[str]:
    return [json.loads(row[0])["message"] for row in store.rows("SELECT payload FROM outbox ORDER BY id")]


def test_growing_file_gives_each_line_once(reader: Reader, log: Path) -> None:
    assert reader.read(log) == []
    append(log, lines("1", "2"))
    assert reader.read(log) == ["1", "2"]
    assert reader.read(log) == []
    append(log, lines("3"))
    assert reader.read(log) == ["3"]
    assert counters.read(reader.store).get("turns_duplicate", 0) == 0


def test_half_written_line_waits_for_its_end(reader: Reader, log: Path) -> None:
    whole = turn("2", content="\u00fc \\u00fc }")
    append(log, lines("1") + whole[:-5])
    assert reader.read(log) == ["1"]
    reader.now += HELD_S
    assert reader.read(log) == []
    append(log, whole[-5:] + "\r\n")
    assert reader.read(log) == ["2"]
    assert dead_letters.recent(reader.store) == []


def test_last_line_without_a_newline_is_taken_when_it_is_a_whole_object(reader: Reader, log: Path) -> None:
    append(log, lines("1") + turn("2"))
    assert reader.read(log) == ["1", "2"]
    append(log, "\n" + lines("3"))
    assert reader.read(log) == ["3"]


def test_restart_goes_on_at_the_byte(reader: Reader, log: Path) -> None:
    append(log, lines("1") + turn("2")[:20])
    reader.read(log)
    append(log, turn("2")[20:] + "\n")
    after = Reader(reader.store)
    assert after.read(log) == ["2"]
    assert counters.read(reader.store).get("turns_duplicate", 0) == 0


def test_nothing_is_lost_or_repeated_when_the_write_fails(reader: Reader, log: Path) -> None:
    append(log, lines("1", "2"))
    reader.store.connection.execute(
        "CREATE TRIGGER no BEFORE INSERT ON offsets BEGIN SELECT raise(FAIL, 'x'); END"
    )
    with pytest.raises(Exception, match="x"):
        reader.read(log)
    assert event_ids(reader.store) == []
    reader.store.connection.execute("DROP TRIGGER no")
    assert Reader(reader.store).read(log) == ["1", "2"]


@pytest.mark.parametrize("new", [["3"], ["3", "4", "5", "6"]], ids=["shorter", "longer"])
def test_file_that_was_truncated_and_written_anew_is_read_from_its_start(
    reader: Reader, log: Path, new: list[str]
) -> None:
    append(log, lines("1", "2"))
    reader.read(log)
    log.write_text(lines(*new))
    assert reader.read(log) == new
    log.write_text("")
    assert reader.read(log) == []
    append(log, lines("7"))
    assert Reader(reader.store).read(log) == ["7"]


def test_long_line_is_counted_and_the_others_go_through(reader: Reader, log: Path) -> None:
    size = MAX_LINE + 3_000_000
    log.write_bytes(lines("1").encode() + b"x" * size + b"\n" + lines("2").encode())
    assert reader.read(log) == ["1", "2"]
    (letter,) = dead_letters.recent(reader.store)
    assert letter["bytes"] == size
    assert counters.read(reader.store)["log_lines_too_long"] == 1


def test_long_half_written_line_is_not_read_again_each_time_it_grows(
    reader: Reader, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    append(log, lines("1"))
    reader.read(log)
    tries = 0

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal tries
        tries += 1
        return read_lines(*arguments, **options)

    from agent.sources.line_log import read_lines

    monkeypatch.setattr("agent.sources.line_log.read_lines", counted)
    for _ in range(20):
        append(log, "x" * CHUNK)
        assert reader.read(log) == []
    assert tries <= 2
    append(log, "\n" + lines("2"))
    assert reader.read(log) == ["2"]


def test_large_file_comes_in_pieces(reader: Reader, log: Path) -> None:
    ids = [f"{number:05d}" for number in range(4000)]
    append(log, "".join(turn(one, content="x" * 500) + "\n" for one in ids))
    status = log.stat()
    file = FollowedFile(log, Offset(status.st_dev, status.st_ino, str(log)))
    piece = file.read(0.0)
    assert piece is not None
    assert 0 < piece.offset.offset < 2 * CHUNK
    assert reader.read(log) == ids


def test_document_is_read_again_when_it_changed_and_only_what_is_new_is_kept(
    reader: Reader, log: Path
) -> None:
    path = log.with_suffix(".json")

    def write(count: int) -> None:
        talk = [
            json.loads(turn(str(number), "assistant" if number % 2 else "user")) for number in range(count)
        ]
        path.write_text(json.dumps({"conversation_id": "c", "messages": talk}, indent=1))

    write(2)
    assert reader.read(path) == ["0", "1"]
    write(4)
    assert reader.read(path) == ["2", "3"]
    assert reader.read(path) == []
    assert counters.read(reader.store).get("turns_duplicate", 0) == 0
    assert Reader(reader.store).read(path) == []
    half = path.read_text()[:-40]
    path.write_text(half)
    assert reader.read(path) == []
    assert dead_letters.recent(reader.store) == []
    reader.now += SETTLED_S
    assert reader.read(path) == []
    assert len(dead_letters.recent(reader.store)) >= 1
    write(6)
    assert reader.read(path) == ["4", "5"]


def test_document_that_grows_into_lines_is_followed_by_lines(reader: Reader, log: Path) -> None:
    append(log, turn("1"))
    assert reader.read(log) == ["1"]
    append(log, "\n" + lines("2"))
    assert reader.read(log) == ["2"]
    append(log, lines("3"))
    assert reader.read(log) == ["3"]
    assert reader.files[log].offset.offset == log.stat().st_size


@pytest.mark.parametrize(
    "content", [b"no log at all\n", b'{"what": "is this"}\n', b"\x00\x01\x02", b"[1, 2]\n"]
)
def test_file_of_no_known_kind_is_one_alert(reader: Reader, log: Path, content: bytes) -> None:
    log.write_bytes(content)
    assert reader.read(log) == []
    assert alerts(reader.store) == []
    reader.now += SETTLED_S
    reader.read(log)
    (said,) = alerts(reader.store)
    assert str(log) in said
    assert "not understood" in said
    assert counters.read(reader.store)["log_files_not_understood"] == 1
    assert dead_letters.recent(reader.store) != []
    reader.now += HELD_S
    Reader(reader.store).read(log)
    assert reader.read(log) == []
    assert len(alerts(reader.store)) == 1


def test_file_that_is_understood_later_is_read_from_its_start(reader: Reader, log: Path) -> None:
    log.write_text("a line of something\n")
    reader.now += SETTLED_S
    reader.read(log)
    append(log, lines("1"))
    assert reader.read(log) == ["1"]


def test_turns_without_a_decision_point_are_one_alert(reader: Reader, log: Path) -> None:
    append(log, lines("1", "2"))
    reader.read(log)
    reader.now += QUIET_S
    reader.read(log)
    (said,) = alerts(reader.store)
    assert "2 records" in said
    assert "not one decision point" in said
    reader.now += QUIET_S
    assert Reader(reader.store).read(log) == []
    assert len(alerts(reader.store)) == 1


def test_session_with_an_answer_is_no_alert(reader: Reader, log: Path) -> None:
    append(log, turn("1") + "\n" + turn("2", "assistant") + "\n")
    reader.read(log)
    reader.now += HELD_S
    reader.read(log)
    assert alerts(reader.store) == []


def real_logs() -> list[Path]:
    data = os.environ.get("HEEDLOOP_DATA")
    found = sorted((Path(data) / "C").rglob("*")) if data else []
    return [path for path in found if path.suffix in (".json", ".jsonl", ".traj") and path.parent.name != "C"]


def grown(path: Path, log: Path) -> dict[str, Turn]:
    """Write a copy of a log bit by bit; return what a reader gives that is started again now and then."""
    content, draw = path.read_bytes(), random.Random(path.name)
    cuts = [*sorted(draw.sample(range(1, len(content)), 4)), len(content)]
    log.parent.mkdir(parents=True)
    log.touch()
    file = FollowedFile(log, Offset(log.stat().st_dev, log.stat().st_ino, str(log)))
    turns: dict[str, Turn] = {}
    for begin, end in pairwise([0, *cuts]):
        if path.suffix == ".jsonl":
            with log.open("ab") as stream:
                stream.write(content[begin:end])
        else:
            log.write_bytes(content[:end])
        if draw.random() < 0.5:
            file = FollowedFile(log, file.offset)
        file.ended = end == len(content)
        for now in (0.0, SETTLED_S * file.ended):
            while (piece := file.read(now)) is not None:
                turns |= {turn.event_id: turn for turn in piece.turns}
    return turns


def test_real_logs_that_grow_bit_by_bit_over_restarts_give_what_they_give_at_once(tmp_path: Path) -> None:
    if not real_logs():
        pytest.skip("HEEDLOOP_DATA is not set: the real agent logs are not there")
    for number, path in enumerate(real_logs()):
        log = tmp_path.joinpath(str(number), *path.parts[-3:])  # the end of a path may be a part of ids
        found = grown(path, log)
        at_once = read_file(path, 1_800_000_000_000).turns
        assert list(found) == [turn.event_id for turn in at_once], path
        assert [turn.content for turn in found.values()] == [turn.content for turn in at_once], path


def test_record_that_labelling_cannot_cope_with_costs_itself_alone(
    reader: Reader, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agent.judging import judge

    def fragile(case: Any, *arguments: Any, **options: Any) -> Any:
        if case.decision.turn.event_id == "2":
            raise LookupError("a case that nobody thought of")
        return judge(case, *arguments, **options)

    monkeypatch.setattr("agent.judging.judge", fragile)
    append(log, "".join(turn(one, "assistant") + "\n" for one in "123"))
    assert reader.read(log) == ["1", "3"]
    assert "LookupError" in dead_letters.recent(reader.store)[0]["reason"]
    assert reader.files[log].offset.offset == log.stat().st_size
