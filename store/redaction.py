"""Take secrets out of what is said before it is stored: tags with a hash that only this store's key gives.

The same secret gets the same tag, so that a reader can follow it; without the key in the state folder nobody
can try guesses against the tags.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from policies.messages import CommandPayload, CorrectionPayload
from policies.parsing import Rejected
from policies.redaction import redact
from policies.turn import Turn
from store.secret_file import secret_in

_KEY = "redaction.key"
_DIGEST_BYTES = 3


class Redaction:
    """Redacts for one state folder; the key is made on first use."""

    def __init__(self, home: Path) -> None:
        self._key = secret_in(home / _KEY).encode()

    def text(self, text: str) -> str:
        """Return the text without secrets; the very same object where it holds none."""
        return redact(text, self._tag)

    def turn(self, turn: Turn) -> Turn:
        """Return the turn with content and tool calls redacted."""
        content = self.text(turn.content)
        arguments = [self.text(call.arguments) for call in turn.tool_calls]
        if content is turn.content and all(
            new is call.arguments for new, call in zip(arguments, turn.tool_calls, strict=True)
        ):
            return turn
        calls = tuple(
            call.model_copy(update={"arguments": new})
            for call, new in zip(turn.tool_calls, arguments, strict=True)
        )
        return turn.model_copy(update={"content": content, "tool_calls": calls})

    def correction(self, correction: CorrectionPayload) -> CorrectionPayload:
        """Return the correction with what a person wrote in it redacted."""
        written = {"direction": correction.direction, "corrected": correction.corrected}
        clean = {name: None if text is None else self.text(text) for name, text in written.items()}
        return correction if clean == written else correction.model_copy(update=clean)

    def command(self, command: CommandPayload) -> CommandPayload:
        """Return the command with every text of its arguments redacted, however deep it lies."""
        return command.model_copy(update={"args": self._argument(command.args)})

    def letter(self, letter: Rejected) -> Rejected:
        """Return the dead letter with payload and reason redacted."""
        return Rejected(letter.place, self.text(letter.reason), self.text(letter.payload), letter.size)

    def _argument(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            return [self._argument(part) for part in value]
        if isinstance(value, dict):
            return dict(self._field(name, part) for name, part in value.items())
        return value

    def _field(self, name: str, value: Any) -> tuple[str, Any]:
        """Redact an argument; one that its name alone makes a secret is read as it stands in JSON."""
        if not isinstance(value, str):
            return self.text(name), self._argument(value)
        try:
            ((found, clean),) = json.loads(self.text(json.dumps({name: value}, ensure_ascii=False))).items()
        except ValueError:  # the secret went over the end of the value
            return self.text(name), self._tag("field", value)
        return self.text(found), self.text(clean)

    def _tag(self, kind: str, secret: str) -> str:
        digest = hashlib.blake2b(
            secret.encode("utf-8", "surrogatepass"), key=self._key, digest_size=_DIGEST_BYTES
        )
        return f"<secret:{kind}:{digest.hexdigest()}>"
