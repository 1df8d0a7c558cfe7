"""Answers that are JSON, under given keys or not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from policies.constraints.constraint import Constraint, Masked, pattern_reader
from policies.sentences import first_sentences

_FENCED = re.compile(r"\A```(?:json)?\s*\n(.*?)\n?```\Z", re.S | re.I)


@dataclass(frozen=True)
class JsonObject(Constraint):
    """The whole answer is one JSON object with exactly these keys, in any order."""

    keys: tuple[str, ...]
    kind: ClassVar[str] = "json_object"
    group: ClassVar[str] = "shape"
    confidence: ClassVar[float] = 0.99

    def check(self, text: str) -> bool:
        """Say whether the text parses as an object with exactly the keys (a code fence is not JSON)."""
        value = _parse(text)
        return isinstance(value, dict) and sorted(value) == sorted(self.keys)

    def implies(self, other: Constraint) -> bool:
        """An object with these keys is valid JSON."""
        return self == other or isinstance(other, ValidJson)

    def edit(self, text: str) -> str | None:
        """Put the first sentence under the key, or the value there is when only the key is wrong."""
        inner = _embedded(text)
        if isinstance(inner, dict) and sorted(inner) == sorted(self.keys):
            return json.dumps(inner, ensure_ascii=False)
        if len(self.keys) != 1:
            return None
        if isinstance(inner, dict) and len(inner) == 1:
            return json.dumps({self.keys[0]: next(iter(inner.values()))}, ensure_ascii=False)
        sentence = first_sentences(text, 1)
        return json.dumps({self.keys[0]: sentence}, ensure_ascii=False) if sentence else None


@dataclass(frozen=True)
class ValidJson(Constraint):
    """The whole answer is JSON: an object or an array, in a code fence or bare."""

    kind: ClassVar[str] = "valid_json"
    group: ClassVar[str] = "shape"

    def check(self, text: str) -> bool:
        """Say whether the text parses as a JSON object or array."""
        fenced = _FENCED.match(text.strip())
        return isinstance(_parse(fenced.group(1) if fenced else text), dict | list)

    def edit(self, text: str) -> str | None:
        """Take out the JSON there is, else put the first sentence under `answer`."""
        inner = _embedded(text)
        if inner is not None:
            return json.dumps(inner, ensure_ascii=False)
        sentence = first_sentences(text, 1)
        return json.dumps({"answer": sentence}, ensure_ascii=False) if sentence else None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _embedded(text: str) -> dict[str, Any] | None:
    """Return the JSON object that stands between the first and the last brace, if it is one."""
    start, end = text.find("{"), text.rfind("}")
    value = _parse(text[start : end + 1]) if 0 <= start < end else None
    return value if isinstance(value, dict) else None


def _keyed(match: re.Match[str], sentence: Masked) -> JsonObject:
    return JsonObject((sentence.quoted(match.group("n")),))


def _listed_keys(match: re.Match[str], sentence: Masked) -> JsonObject | None:
    listed = match.group("list")
    quoted = [sentence.quoted(number) for number in re.findall(r"#(\d+)", listed)]
    start, end = match.span("list")
    keys = quoted or [key for key in re.split(r",? and |, ", sentence.as_written(start, end)) if key]
    return JsonObject(tuple(keys)) if len(keys) > 1 else None


_KEY = r"(?:key|field|property)"
_KEYS = (
    r'(?P<list>"#\d+"(?:(?:,? and |, )"#\d+")+|[a-z_]+(?:, [a-z_]+)*,? and [a-z_]+)'
    r"(?= ?(?:[.;!]|$|and nothing else|only))"
)
_JSON = r"(?:valid |one |single |an? )*+json(?: object| format| dictionary)?"
_THAT = r"(?: of the form| like| like this| such as| with the format| in the form| as|:|,| in the format)*"

READERS = (
    pattern_reader(
        "json {#",
        (
            (rf"{_JSON}{_THAT} \{{#(?P<n>\d+)\}}", _keyed),
            (
                rf"{_JSON}(?: that has| having| with| whose| containing| using| and)? "
                rf"(?:exactly |only |just |the |these |following |two |three |four |five )*{_KEY}s:? {_KEYS}",
                _listed_keys,
            ),
            (
                rf"{_JSON}(?:,? (?:that has|that contains|having|with|whose|containing|using|under|and))? "
                rf"(?:exactly |only |just |the |one |a |single )*{_KEY}"
                rf"(?: is| named| called| must be| should be|:|"
                rf',)* "#(?P<n>\d+)"(?! or\b)(?! and (?!nothing))(?!,)',
                _keyed,
            ),
            (
                rf"{_JSON}(?: with| under| using)? (?:exactly |only |just |the |one |a |"
                rf'single )*"#(?P<n>\d+)"'
                rf"(?: as (?:the|its) (?:only |single )?{_KEY}| {_KEY})",
                _keyed,
            ),
            (
                # A further clause about keys that we could not read would make "any JSON" too lax.
                r"\b(?:as|in|only|output|return|use|using|with|be|contains? (?:a|one|only)|"
                r"inside) (?:only )?(?:the |a )?"
                r"(?:in )?(?:valid |raw |strict |one |an? |single )*json\b(?: object| format| array| only|"
                r" block)?(?!.*\b(?:keys?|fields?|propert|schema|form)\b)(?! (?:file|parser|schema|lines?))",
                lambda match, sentence: ValidJson(),
            ),
        ),
    ),
)
