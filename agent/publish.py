"""What an agent sends its turns with: `from agent.publish import Publisher`.

    publisher = Publisher("mqtt://coder:password@127.0.0.1:1883", agent="coder")
    publisher.messages("conversation-1", messages)   # the chat messages so far, after each step
    publisher.close()

A call writes one record to a file on this machine and returns; a thread delivers it. While the broker is
away the records wait on disk, also when the agent is killed. Each is delivered at least once, and its event
id makes that exactly once in the store. No call raises for a broker, a network or a disk that fails.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.address import Address, Certificates, parse_url, running_broker, tls_context
from agent.delivery import Delivery
from agent.spool import Spool
from policies.errors import ConfigError
from policies.parsing import derived_event_id
from store.clock import new_id, now_ms, rfc3339

log = logging.getLogger("heedloop.publish")

SPOOL_BYTES = 256 * 1024 * 1024
RECORD_BYTES = 8 * 1024 * 1024
"""Larger than any turn that is read at the other end."""
CONVERSATIONS = 10_000
"""Conversations of which is remembered how much was published; of an older one all is published again."""


class Publisher:
    """Publishes turns, corrections and commands of one agent; safe to call from any thread.

    Without `url`: HEEDLOOP_BUS__URL, else the broker of the `run.py up` on this machine. `spool` is a folder
    that outlives the agent; absent: one under $XDG_STATE_HOME. Beyond `spool_bytes` the oldest records are
    dropped: `dropped` counts them, `dropped.jsonl` in that folder says when. `ca_file`, `certificate`, `key`:
    PEM files for mqtts; absent: HEEDLOOP_BUS__CA_FILE and so on. Raises ConfigError for an address, file or
    folder that cannot be used, here and never later.
    """

    def __init__(
        self,
        url: str | None = None,
        agent: str = "agent",
        *,
        spool: Path | None = None,
        spool_bytes: int = SPOOL_BYTES,
        ca_file: Path | None = None,
        certificate: Path | None = None,
        key: Path | None = None,
    ) -> None:
        if not agent or set("/+#") & set(agent):
            raise ConfigError(f"the agent's id {agent!r} cannot stand in a topic: leave out /, + and #")
        self._url = url or os.environ.get("HEEDLOOP_BUS__URL")
        given = Certificates(ca_file, certificate, key)
        certificates = given if any(given) else Certificates.from_environment()
        if self._url:
            tls_context(parse_url(self._url), certificates)
        self._folder = spool or default_spool(agent)
        self._spool = Spool(self._folder, spool_bytes)
        self._refused = 0
        self._published: OrderedDict[str, tuple[int, str]] = OrderedDict()
        self._closed = False
        self._delivery = Delivery(self._address, agent, self._spool, certificates)
        atexit.register(self.close)

    @property
    def state(self) -> str:
        """Say `connected`, or why it is not."""
        return self._delivery.state

    @property
    def waiting(self) -> int:
        """Return how many records the broker has not acknowledged yet."""
        return self._spool.waiting

    @property
    def dropped(self) -> int:
        """Return how many records were dropped: the spool was full, the disk failed, one was too large."""
        return self._refused + self._spool.dropped

    def turn(self, conversation_id: str, role: str, content: str | None = "", **fields: Any) -> str:
        """Publish one turn; further fields are those of contract v1 (`tool_calls`, `model` ...).

        Returns its event id, which a correction of it names. Give `event_id` where the agent has one.
        """
        event_id = str(fields.pop("event_id", None) or new_id())
        said = {"event_id": event_id, "conversation_id": conversation_id, "role": role, "content": content}
        self._send("turns", {**said, "ts": rfc3339(now_ms()), **fields})
        return event_id

    def messages(self, conversation_id: str, messages: Sequence[Any], **fields: Any) -> list[str]:
        """Publish those chat messages of a conversation that were not published yet; returns their ids.

        Call it with the whole list after each step: dictionaries, or what the OpenAI client returns. The ids
        follow from place and text: said again, also after a restart of the agent, a message counts once.
        Further fields go with each.
        """
        begin, last = self._published.pop(conversation_id, (0, ""))
        chat = [_message(message) for message in messages[max(0, begin - 1) :]]
        if begin and (not chat or _message_id(conversation_id, begin - 1, chat[0]) != last):
            begin, chat = 0, [_message(message) for message in messages]  # the list was written anew
        elif begin:
            chat = chat[1:]
        ids = [_message_id(conversation_id, place, message) for place, message in enumerate(chat, begin)]
        for event_id, message in zip(ids, chat, strict=True):
            said = {"event_id": event_id, "conversation_id": conversation_id, "ts": rfc3339(now_ms())}
            self._send("turns", {**said, **fields, **message})
        self._published[conversation_id] = (begin + len(chat), ids[-1] if ids else last)
        if len(self._published) > CONVERSATIONS:
            self._published.popitem(last=False)
        return ids

    def correction(self, conversation_id: str, turn_event_id: str, verdict: str, **fields: Any) -> str:
        """Publish a verdict on a turn, `followed` or `ignored`, with `direction`, `corrected`, `author`."""
        event_id = str(fields.pop("event_id", None) or new_id())
        said = {"conversation_id": conversation_id, "turn_event_id": turn_event_id, "verdict": verdict}
        self._send("corrections", {"event_id": event_id, **said, **fields})
        return event_id

    def flush(self, timeout: float) -> bool:
        """Wait until the broker has everything, for `timeout` seconds at most. Returns whether it has."""
        deadline = time.monotonic() + timeout
        while self.waiting and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self.waiting

    def close(self, timeout: float = 2.0) -> None:
        """Deliver for `timeout` seconds at most; the rest waits on disk for the next start."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        ended = self._delivery.stop(timeout)
        if self.waiting:
            log.warning("%d records wait in %s for the next start", self.waiting, self._folder)
        if ended:
            self._spool.close()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _address(self) -> Address:
        return parse_url(self._url or running_broker())

    def _send(self, channel: str, payload: Mapping[str, Any]) -> None:
        try:
            record = f"{channel}\t{json.dumps(payload, default=str)}".encode()
            if self._closed:
                raise ValueError("it was published after close()")
            if len(record) > RECORD_BYTES:
                raise ValueError(f"it has {len(record)} bytes, at most {RECORD_BYTES} are sent")
            self._spool.append(record)
        except (OSError, TypeError, ValueError, RecursionError) as error:
            self._refused += 1
            log.warning("dropped a record of %s: %s", channel, error)
        else:
            self._delivery.rouse()


def default_spool(agent: str) -> Path:
    """Return the folder in which an agent's records wait where none is named."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "heedloop-spool" / agent


def _message(message: Any) -> dict[str, Any]:
    """Return a chat message as a dictionary; the OpenAI client has models of its own."""
    if isinstance(message, Mapping):
        return dict(message)
    return dict(message.model_dump(exclude_none=True))


def _message_id(conversation_id: str, place: int, message: Mapping[str, Any]) -> str:
    said = [message.get("content"), message.get("tool_calls")]
    return derived_event_id(conversation_id, place, message.get("role"), said)
