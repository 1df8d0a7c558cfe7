"""`run.py export rows`: judged answers as a file for others, without secrets, and never over another."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.testing import CliRunner

from learner.verbs.export import commands
from policies.errors import InputError
from policies.example import Example
from policies.label import Label
from policies.training_shapes import Shape
from policies.turn import ToolCall, Turn
from store import decisions, events, examples, labels
from store.database import Store, open_store

KEY = "sk-proj-" + "a1B2" * 12


@pytest.fixture(autouse=True)
def judged_home(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store with a followed answer, an ignored one with its pair, and an ignored one without."""
    monkeypatch.setenv("HEEDLOOP_HOME", str(home))
    monkeypatch.chdir(tmp_path)
    store = open_store(home)
    judge(store, "a", "Fine.", "followed")
    judge(store, "b", "LOUD.", "ignored", chosen=f"quiet, {KEY}")
    judge(store, "c", "", "ignored", calls=(ToolCall(id="x", name="push", arguments='{"to": "main"}'),))
    store.close()
    return home


def judge(
    store: Store,
    name: str,
    answer: str,
    verdict: str,
    chosen: str | None = None,
    calls: tuple[ToolCall, ...] = (),
) -> None:
    """Write a conversation with one judged answer, and its pair where `chosen` is given."""
    common: dict[str, Any] = {"conversation_id": name, "ts": 1_700_000_000_000}
    turns = [
        Turn(event_id=f"{name}0", role="user", content="Never shout. What now?", **common),
        Turn(event_id=f"{name}1", role="assistant", content=answer, tool_calls=calls, **common),
    ]
    with store.write() as connection:
        events.insert(connection, "agent", turns, "test")
        connection.execute(
            "INSERT INTO directions VALUES (?, ?, ?, 'Never shout.', 'once')",
            (f"{name}0/0", name, f"{name}0"),
        )
        connection.execute("INSERT INTO decisions VALUES (?, ?, ?, 0, 1)", (f"{name}1#0", name, f"{name}1"))
        decisions.insert_directions(connection, f"{name}1#0", ())
        said = {"decision_id": f"{name}1#0", "direction_id": f"{name}0/0", "verdict": verdict}
        label = Label.model_validate(said | {"confidence": 0.95, "labeller": "constraint"})
        labels.replace(connection, f"{name}1#0", [label])
        if chosen is not None:
            example = Example(
                id=f"e{name}",
                kind="correction",
                decision_id=f"{name}1#0",
                direction="Never shout.",
                context=(turns[0].message(),),
                chosen=chosen,
                rejected=answer,
                origin="few_shot",
            )
            examples.insert(connection, example, 2)


def run(*words: str) -> tuple[list[dict[str, Any]], str]:
    """Run `export rows`; returns the rows on stdout and the talk on stderr. Raises what `run.py` prints."""
    done = CliRunner().invoke(commands, ["rows", *words], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def test_every_shape_gives_its_rows_and_says_what_it_left_out() -> None:
    counts = {shape: len(run(shape)[0]) for shape in get_args(Shape)}
    assert counts == {
        "trl-sft": 2,
        "trl-prompt-completion": 2,
        "trl-dpo": 1,
        "trl-kto": 4,  # followed; corrected and as it was; ignored
        "openai-chat": 2,
        "openai-preference": 1,
    }
    _, talk = run("trl-dpo")
    assert "left out: 1 (no wrong answer" in talk
    assert "left out: 1 (no right answer" in talk
    assert "exported: 1 rows" in talk


def test_filters_narrow_what_is_exported() -> None:
    assert [row["label"] for row in run("trl-kto", "--label", "followed")[0]] == [True]
    assert (
        len(run("trl-kto", "--direction", "shout", "--labeller", "constraint", "--since", "2023-01-01")[0])
        == 4
    )
    for words in (
        ["--since", "1h"],
        ["--direction", "json"],
        ["--labeller", "judge"],
        ["--min-confidence", "0.99"],
    ):
        with pytest.raises(InputError, match="nothing to export as trl-kto"):
            run("trl-kto", *words)


def test_secrets_are_taken_out_of_answers_that_a_model_wrote() -> None:
    text = json.dumps(run("trl-dpo")[0])
    assert KEY not in text
    assert "quiet, <secret:openai_key>" in text


def test_a_file_is_written_for_its_owner_and_never_over_another(tmp_path: Path) -> None:
    target = tmp_path / "pairs.jsonl"
    assert run("trl-dpo", "--output", str(target))[0] == []
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [set(json.loads(line)) for line in target.read_text().splitlines()] == [
        {"prompt", "chosen", "rejected"}
    ]
    target.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        run("trl-dpo", "--output", str(target))
    assert target.read_text() == "mine"
    run("trl-dpo", "--output", str(target), "--force")
    assert target.read_text() != "mine"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--output", "no/such/file"], "its folder is not there"),
        (["--output", "."], "is a folder"),
        (["--since", "soon"], "--since 'soon'"),
    ],
)
def test_nonsense_is_one_line(words: list[str], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        run("trl-sft", *words)


def test_nothing_to_export_makes_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to export"):
        run("trl-dpo", "--label", "followed", "--output", str(tmp_path / "none.jsonl"), "--force")
    assert not list(tmp_path.glob("*none*"))
