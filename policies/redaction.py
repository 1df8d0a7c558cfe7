"""Find secrets in text and put typed tags in their place: `<secret:openai_key:ab12cd>`.

Precision first: a key counts by its vendor's prefix and length, an assignment by its name and a value that
looks drawn. Hashes, UUIDs, commit ids and base64 images have neither. Pure: `tag` makes the tag of a kind and
a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

Tag = Callable[[str, str], str]
"""(kind, secret) -> what stands in its place."""

_EDGE = r"(?<![A-Za-z0-9+/_-])"
_END = r"(?![A-Za-z0-9_-])"
_PLACEHOLDER = re.compile(
    r"^[<${%\[(*.]|your|example|placeholder|change.?me|redacted|dummy|xxx|\*\*\*|\.\.\.|…|os\.|process\.env|"
    r"getenv|secrets\.|config\.|self\.|(.)\1{7}",
    re.I,
)
_DRAWN = re.compile(r"(?=[^A-Za-z]*[A-Za-z])(?=\D*\d)")


@dataclass(frozen=True)
class Pattern:
    """One kind of secret. `hints`: one of them, in any case, stands in every text that can match.

    The first group is the secret. `drawn`: it must hold letters and digits and be no placeholder.
    """

    kind: str
    hints: tuple[str, ...]
    expression: re.Pattern[str]
    drawn: bool = False


def _key(kind: str, hints: str, body: str) -> Pattern:
    return Pattern(kind, tuple(hints.split()), re.compile(f"{_EDGE}({body}){_END}"))


_NAME = (
    r"(?:API_?KEY|ACCESS_?KEY|SECRET(?:_?KEY)?|TOKEN|PASSWORD|PASSWD|PASSPHRASE|PRIVATE_?KEY|CREDENTIALS?)"
)
_VALUE = r"[^\s\"'`\\<>,;&(){}\[\]]"
_NAMES = re.sub(
    "[a-z]",
    lambda letter: f"[{letter[0]}{letter[0].upper()}]",  # many times faster than re.IGNORECASE
    "api_?key|access_?key|secret_?key|client_?secret|auth_?token|access_?token|refresh_?token|password|passwd",
)

PATTERNS = (
    Pattern(
        "private_key",
        ("PRIVATE KEY",),
        re.compile(
            r"(-----BEGIN [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-(?!----BEGIN )){0,16000}?"
            r"(?:-----END [A-Z ]{0,20}PRIVATE KEY(?: BLOCK)?-----|\Z|(?=-----BEGIN )))"
        ),
    ),
    _key("anthropic_key", "sk-ant-", r"sk-ant-[A-Za-z0-9_-]{20,200}"),
    _key(
        "openai_key",
        "sk-",
        r"sk-(?!ant-)(?:proj-|svcacct-|admin-|or-v1-)?(?=[A-Za-z_-]{0,200}\d)[A-Za-z0-9_-]{32,200}",
    ),
    _key("github_token", "ghp_ gho_ ghu_ ghs_ ghr_", r"gh[pousr]_[A-Za-z0-9]{36,255}"),
    _key("github_token", "github_pat_", r"github_pat_[A-Za-z0-9_]{60,255}"),
    _key("gitlab_token", "glpat-", r"glpat-[A-Za-z0-9_-]{20,64}"),
    _key("aws_access_key", "AKIA ASIA", r"(?:AKIA|ASIA)[A-Z2-7]{16}"),
    _key("google_key", "AIza", r"AIza[A-Za-z0-9_-]{35}"),
    _key("google_token", "ya29.", r"ya29\.[A-Za-z0-9_-]{40,400}"),
    _key("slack_token", "xoxa xoxb xoxp xoxr xoxs xapp-", r"(?:xox[abprs]|xapp)-[A-Za-z0-9-]{20,200}"),
    _key("slack_webhook", "hooks.slack.com", r"https://hooks\.slack\.com/services/T[A-Za-z0-9/]{20,90}"),
    _key("huggingface_token", "hf_", r"hf_[A-Za-z]{30,40}"),
    _key("npm_token", "npm_", r"npm_[A-Za-z0-9]{36}"),
    _key("pypi_token", "pypi-AgE", r"pypi-AgE[A-Za-z0-9_-]{50,400}"),
    _key("stripe_key", "k_live_ k_test_", r"[sr]k_(?:live|test)_[A-Za-z0-9]{20,120}"),
    _key("sendgrid_key", "SG.", r"SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}"),
    _key("telegram_token", ":AA", r"\d{8,10}:AA[A-Za-z0-9_-]{33}"),
    _key("jwt", "eyJ", r"eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,4000}\.[A-Za-z0-9_-]{20,1000}"),
    Pattern(
        "bearer_token",
        ("bearer ",),
        re.compile(r"\b[Bb](?:earer|EARER) ([A-Za-z0-9._~+/-]{20,2000}={0,2})"),
        drawn=True,
    ),
    Pattern(
        "basic_credentials",
        ("basic ",),
        re.compile(r"[Aa]uthorization['\"]?\s{0,3}[:=]\s{0,3}['\"]?[Bb]asic ([A-Za-z0-9+/]{8,400}={0,2})"),
    ),
    Pattern(
        "connection_password",
        ("://",),
        re.compile(
            r"\b[a-z][a-z0-9+.-]{1,20}://[^\s:/@\"'<>]{0,100}:([^\s:/@\"'<>{}$]{3,200})(?=@[A-Za-z0-9\[])"
        ),
    ),
    Pattern(
        "env_value",
        ("KEY", "SECRET", "TOKEN", "PASS", "CREDENTIAL"),
        re.compile(
            rf"{_NAME}[A-Z0-9_]{{0,20}}[\"']?[ \t]{{0,2}}[=:][ \t]{{0,2}}\\?[\"']?({_VALUE}{{8,500}})"
        ),
        drawn=True,
    ),
    Pattern(
        "credential",
        (
            "api_key",
            "apikey",
            "access_key",
            "accesskey",
            "secret",
            "auth_token",
            "authtoken",
            "access_token",
            "accesstoken",
            "refresh_token",
            "refreshtoken",
            "password",
            "passwd",
        ),
        re.compile(
            rf"(?:{_NAMES})\\?[\"']?[ \t]{{0,2}}[=:][ \t]{{0,2}}\\?[\"']({_VALUE}{{8,500}})(?=\\?[\"'])"
        ),
        drawn=True,
    ),
)

_BY_HINT = tuple((hint.lower(), pattern) for pattern in PATTERNS for hint in pattern.hints)


def redact(text: str, tag: Tag) -> str:
    """Return the text with a tag in the place of each secret; the same text where there is none."""
    lower = text.lower()
    for pattern in dict.fromkeys([pattern for hint, pattern in _BY_HINT if hint in lower]):
        text = pattern.expression.sub(partial(_replaced, pattern=pattern, tag=tag), text)
    return text


def _replaced(match: re.Match[str], pattern: Pattern, tag: Tag) -> str:
    secret = match[1]
    if pattern.drawn and (not _DRAWN.match(secret) or _PLACEHOLDER.search(secret)):
        return match[0]
    if pattern.kind == "connection_password" and _PLACEHOLDER.search(secret):
        return match[0]
    start = match.start(1) - match.start()
    return match[0][:start] + tag(pattern.kind, secret) + match[0][start + len(secret) :]
