"""Secrets and what only looks like one."""

from __future__ import annotations

import base64
import hashlib
import random
import re._parser as sre  # type: ignore[import-not-found]
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.redaction import PATTERNS, Pattern, redact


def drawn(length: int, alphabet: str = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789") -> str:
    """Return a text like those that a vendor draws; put together here, so that no scanner finds it."""
    body = "".join(random.Random(length).choices(alphabet, k=length - 2))
    return f"{body}a7"


PEM = f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{drawn(64)}\n{drawn(64)}\n-----END RSA PRIVATE KEY-----"
PEM_IN_JSON = PEM.replace("\n", "\\n")

SECRETS = {
    "openai": ("openai_key", "sk-" + drawn(48)),
    "openai project": ("openai_key", "sk-proj-" + drawn(120)),
    "anthropic": ("anthropic_key", "sk-ant-api03-" + drawn(90)),
    "github": ("github_token", "ghp_" + drawn(36)),
    "github fine": ("github_token", "github_pat_" + drawn(82)),
    "gitlab": ("gitlab_token", "glpat-" + drawn(20)),
    "aws": ("aws_access_key", "AKIA" + drawn(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567")[:14] + "QZ"),
    "google": ("google_key", "AIza" + drawn(35)),
    "slack": ("slack_token", "xoxb-" + drawn(40)),
    "hugging face": ("huggingface_token", "hf_" + drawn(36, "abcdefghijklmnop")[:34].replace("7", "q")),
    "npm": ("npm_token", "npm_" + drawn(36)),
    "stripe": ("stripe_key", "sk_live_" + drawn(24)),
    "jwt": ("jwt", f"eyJ{drawn(20)}.eyJ{drawn(60)}.{drawn(43)}"),
    "pem": ("private_key", PEM),
    "pem in JSON": ("private_key", PEM_IN_JSON),
}
AROUND = ("{}", "export X={} ", '{{"a": "{}"}}', "use `{}` here", "key={}\n", "({})", "{}.")


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize("around", AROUND)
def test_a_secret_goes_wherever_it_stands_and_its_surroundings_stay(name: str, around: str) -> None:
    kind, secret = SECRETS[name]
    found: list[tuple[str, str]] = []

    def tag(kind: str, secret: str) -> str:
        found.append((kind, secret))
        return "<TAG>"

    assert redact(around.format(secret), tag) == around.format("<TAG>")
    assert found == [(kind, secret)]


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (f"Authorization: Bearer {drawn(40)}", "Authorization: Bearer <bearer_token>"),
        ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "Authorization: Basic <basic_credentials>"),
        ("postgres://ana:s3cr3tpw@db.example/app", "postgres://ana:<connection_password>@db.example/app"),
        (  # found by fuzzing
            "ab://u:pw1@hosta://u:pw2@h",
            "ab://u:<connection_password>@hosta://u:<connection_password>@h",
        ),
        ("redis://:hunter22@10.0.0.1:6379/0", "redis://:<connection_password>@10.0.0.1:6379/0"),
        ("export DB_PASSWORD=correct7horse", "export DB_PASSWORD=<env_value>"),
        ('AWS_SECRET_ACCESS_KEY="wJalrXUtnFEMI/K7MDENG"', 'AWS_SECRET_ACCESS_KEY="<env_value>"'),
        ("STRIPE_API_KEY: abcdef123456", "STRIPE_API_KEY: <env_value>"),
        ('{"api_key": "0a1b2c3d4e5f6a7b"}', '{"api_key": "<credential>"}'),
        ('{\\"password\\": \\"trustno1again\\"}', '{\\"password\\": \\"<credential>\\"}'),
    ],
)
def test_the_value_goes_and_its_name_stays(text: str, clean: str) -> None:
    assert redact(text, lambda kind, _: f"<{kind}>") == clean


SHA = hashlib.sha256(b"x").hexdigest()
IMAGE = base64.b64encode(random.Random(5).randbytes(60_000)).decode()


@pytest.mark.parametrize(
    "text",
    [
        SHA,
        f"commit {SHA[:40]}",
        f"sha256:{SHA}",
        f"sha512-{base64.b64encode(hashlib.sha512(b'x').digest()).decode()}",
        str(uuid.UUID(int=7)),
        f"data:image/png;base64,{IMAGE}",
        IMAGE,
        "API_KEY=your-api-key-here1",
        "API_KEY=$OPENAI_API_KEY",
        'api_key = os.environ["OPENAI_API_KEY_2"]',
        'api_key="<your key 1>"',
        "password: str = Field(min_length=8)",
        "MAX_TOKENS=4096",
        "TOKEN_LIMIT = 1000000",
        "http://127.0.0.1:8080/a@b",
        "https://example.com/x:y@z",
        "git@github.com:owner/name.git",
        "the sk-learn-like interface of a scikit-something-long-enough-package",
        "task-abcdefghijklmnopqrstuvwxyz0123456789abcdef",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "eyJhbGciOiJIUzI1NiJ9 is a header",
        "bearer of bad news123",
        "toolu_01ABCDEFGHIJKLMNOPQRSTUV",
        "call_abcdefghijklmnopqrstuvwx",
        "01JD8X4Y5Z6A7B8C9D0E1F2G3H",
        "<secret:openai_key:ab12cd>",
        "OPENAI_API_KEY=<secret:openai_key:ab12cd>",
    ],
)
def test_what_only_looks_like_a_secret_survives(text: str) -> None:
    assert redact(text, lambda kind, secret: f"<{kind}>") == text


@given(st.text(alphabet="skeypa=:/@-\"'\\ \n{}$<AKIBEGNRVTO12", max_size=400))
@settings(max_examples=300, deadline=None)
def test_redaction_is_done_after_once(text: str) -> None:
    def tag(kind: str, _: str) -> str:
        return f"<secret:{kind}:ab12cd>"

    once = redact(text, tag)
    assert redact(once, tag) == once


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.kind)
def test_a_hint_stands_in_whatever_a_pattern_can_match(pattern: Pattern) -> None:
    @given(st.from_regex(pattern.expression))
    @settings(max_examples=8, deadline=None)
    def holds(text: str) -> None:
        assert any(hint.lower() in text.lower() for hint in pattern.hints), text

    holds()


def endless(expression: str) -> list[str]:
    """Return what in an expression can take a time out of proportion: a repeat without a bound, or one of
    no fixed number within another. Without them a beginning costs at most a constant.
    """

    def walk(part: object, *, inside: bool) -> Iterator[str]:
        if isinstance(part, tuple) and len(part) == 2 and str(part[0]).endswith("REPEAT"):
            least, most, repeated = part[1]
            if most == sre.MAXREPEAT:
                yield f"no bound: {repeated}"
            if inside and least != most:
                yield f"within another: {repeated}"
            yield from walk(repeated, inside=inside or most > 1)
        elif isinstance(part, (tuple, list, sre.SubPattern)):
            for one in part:
                yield from walk(one, inside=inside)

    return list(walk(sre.parse(expression), inside=False))


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.kind)
def test_no_pattern_can_take_a_time_out_of_proportion(pattern: Pattern) -> None:
    assert endless(pattern.expression.pattern) == []


@pytest.mark.parametrize("bad", ["(a+)+b", "(?:a{1,9}){1,9}b", "x.*y", "(?=[a-z]*7)a", "(?:a|b{0,9}){2}"])
def test_a_repeat_that_can_is_found(bad: str) -> None:
    assert endless(bad)


BEGINNINGS = [
    "-----BEGIN PRIVATE KEY-----",
    "eyJ",
    "postgres://",
    "api_key='",
    "API_KEY=",
    "sk-a",
    "bearer a",
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("start", BEGINNINGS)
def test_a_long_line_of_beginnings_is_done_with(start: str) -> None:
    redact(start * 20_000, lambda kind, secret: "<>")


def test_a_key_that_was_cut_off_goes_and_what_begins_behind_it_stays() -> None:
    cut = PEM[: len(PEM) // 2]
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
    assert redact(f"{cut}\n{certificate}\n{PEM}", lambda *_: "<>") == f"<>{certificate}\n<>"
    assert redact(f"see {cut}", lambda *_: "<>") == "see <>"
