"""A small agent on the OpenAI API that lets heedloop listen: the three lines with `publisher` are all of it.

`python examples/openai_agent.py "How long does rice cook?"`: one conversation, a line a turn, until an empty
line or the end of the input. OPENAI_BASE_URL names the server (`run.py status` says which). The publisher
finds the broker of the `run.py up` on this machine, or takes HEEDLOOP_BUS__URL.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from itertools import chain
from typing import Any
from uuid import uuid4

import httpx

from agent.publish import Publisher

SYSTEM = "You are a helpful assistant."


def complete(http: httpx.Client, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the model's next message. With the `openai` package: `client.chat.completions.create(...)`."""
    model = os.environ.get("OPENAI_MODEL") or http.get("models").raise_for_status().json()["data"][0]["id"]
    answer = http.post("chat/completions", json={"model": model, "messages": messages})
    message: dict[str, Any] = answer.raise_for_status().json()["choices"][0]["message"]
    return {"role": "assistant", "content": message["content"]}


def spoken() -> Iterator[str]:
    """Yield what the person says, line by line."""
    given = (" ".join(sys.argv[1:]),) if len(sys.argv) > 1 else ()
    return (line.strip() for line in chain(given, sys.stdin))


def main() -> None:
    """Talk, and publish the conversation after each step."""
    url = os.environ.get("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1")
    key = {"Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', 'none')}"}
    conversation, messages = f"example-{uuid4()}", [{"role": "system", "content": SYSTEM}]
    with (
        httpx.Client(base_url=url, headers=key, timeout=120) as http,
        Publisher(agent="example") as publisher,
    ):
        for said in spoken():
            if not said:
                break
            messages.append({"role": "user", "content": said})
            publisher.messages(conversation, messages)
            messages.append(complete(http, messages))
            publisher.messages(conversation, messages)
            print(messages[-1]["content"], flush=True)


if __name__ == "__main__":
    main()
