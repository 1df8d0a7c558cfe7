"""The background client: asks without a pause while the server learns. Its own process, so nothing delays it.

`python -m agent.demo.load URL MODEL JOURNAL RECORD`: writes its conversations to JOURNAL (tailed by the
loop as ordinary turns) and one line a request to RECORD, until SIGTERM.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from itertools import cycle
from pathlib import Path
from uuid import uuid4

from agent.demo.client import Answer, ChatClient
from agent.demo.journal import Journal, turn_payload
from agent.demo.material import load_material

MAX_TOKENS = 160
SYSTEM = "You are a helpful assistant."


async def run(url: str, model: str, journal_path: Path, record_path: Path) -> None:
    """Ask one question after the other until SIGTERM; the request under way is finished and counted."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client, journal = ChatClient(url, model), Journal(journal_path)
    with record_path.open("a", encoding="utf-8") as record:
        for question in cycle(load_material().load):
            if stop.is_set():
                break
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
            answer = await client.ask(messages, MAX_TOKENS)
            record.write(answer.model_dump_json() + "\n")
            record.flush()
            if not answer.failure:
                conversation = uuid4().hex
                said = {"role": "assistant", "content": answer.text}
                journal.write([turn_payload(conversation, message, model) for message in [*messages, said]])
    journal.close()
    await client.close()


def read_record(path: Path) -> list[Answer]:
    """Return the finished requests of a record."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Answer.model_validate_json(line) for line in lines if line.endswith("}")]


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4])))
