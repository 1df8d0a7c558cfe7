"""From the server's log of answers to the store, each line once.

The server writes whole lines, and moves a full log aside once: at most two files are there. A file's name is
here the digest of its first line, for inodes are used again. The place behind the last line that was kept,
(name, offset), is written in the transaction that keeps the lines.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from agent.writer import Writer
from policies.answers import ANSWER_LOG, OLDER_ANSWER_LOG
from store import answers, counters, state
from store.database import Store

POLL_S = 1.0
_CHUNK = 1 << 20
_PLACE = "answers_read"


async def follow_answers(writer: Writer, folder: Path) -> None:
    """Read what the server adds to its log, for ever."""
    while True:
        while await writer.run(read_answers, folder):
            pass
        await asyncio.sleep(POLL_S)


def read_answers(store: Store, folder: Path) -> bool:
    """Keep the next lines of the log. Returns whether there were any."""
    name, offset = state.get(store, _PLACE, ["", 0])
    with ExitStack() as opened:
        logs = _logs(folder, opened)
        known = list(logs).index(name) if name in logs else 0
        for other, file in list(logs.items())[known:]:
            file.seek(start := offset if other == name else 0)
            lines = file.read(_CHUNK)
            whole = lines[: lines.rfind(b"\n") + 1]
            if whole:
                _keep(store, whole, (other, start + len(whole)))
                return True
    return False


def _logs(folder: Path, opened: ExitStack) -> dict[str, BinaryIO]:
    """Open the logs, oldest first, by name. The new one is opened first: it may be moved aside meanwhile."""
    found: dict[str, BinaryIO] = {}
    for file_name in (ANSWER_LOG, OLDER_ANSWER_LOG):
        with suppress(FileNotFoundError):
            file = opened.enter_context((folder / file_name).open("rb"))
            first = file.readline()
            if first.endswith(b"\n"):
                found.setdefault(hashlib.blake2b(first, digest_size=16).hexdigest(), file)
    return dict(reversed(found.items()))


def _keep(store: Store, whole: bytes, place: tuple[str, int]) -> None:
    read = [answers.parse_answer(line) for line in whole.splitlines()]
    with store.write() as connection:
        answers.insert(connection, (answer for answer in read if answer is not None))
        counters.add(connection, "answers", sum(answer is not None for answer in read))
        counters.add(connection, "answers_unreadable", read.count(None))
        state.put(connection, _PLACE, place)
