"""`run.py labels ...`: review what is uncertain, label again, calibrate the labellers."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from agent.ingest import Ingest, Outcome
from agent.language import detect_language
from agent.relabelling import label_again, own_calibrations
from policies.config import Config
from policies.errors import ConfigError
from policies.label import Label, Verdict
from policies.labelling import Case
from store import calibrations, labels
from store.clock import new_id
from store.database import Store, open_existing
from store.home import home_of
from store.printing import print_json, print_table
from store.settings import load_config

commands = typer.Typer(no_args_is_help=True, help="Review labels, label again, calibrate.")

ReadKey = Callable[[], str]
"""Waits for one key and returns it."""

_ANSWERS: dict[str, Verdict] = {"i": "ignored", "f": "followed"}
_CONTEXT_TURNS, _CONTEXT_CHARACTERS = 4, 1_200


@commands.command("review")
def review(
    limit: Annotated[int, typer.Option(help="how many at most")] = 20,
    above: Annotated[float, typer.Option(help="least confidence of a vote that is shown")] = 0.2,
) -> None:
    """Go through uncertain labels, one key each: i ignored, f followed, s skip, q stop."""
    if not sys.stdin.isatty():
        raise ConfigError("labels review needs a terminal (`run.py correct` takes one answer without)")
    config = load_config()
    with open_existing(home_of(config)) as store:
        given = review_labels(config, store, Console(), terminal_key, limit=limit, above=above)
    print_json({"reviewed": given})


@commands.command("rerun")
def rerun(json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Label every stored decision again, by today's labellers; the old labels stay in the history."""
    config = load_config()
    with open_existing(home_of(config)) as store:
        counts = asyncio.run(label_again(store, config))
    if json:
        print_json(counts)
    else:
        print_table("labelled again", ("what", "count"), list(counts.items()))


@commands.command("calibrate")
def calibrate(json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Fit the confidence of each labeller to the corrections in the store; used from now on."""
    config = load_config()
    with open_existing(home_of(config)) as store:
        fitted, too_few = own_calibrations(store, config)
        with store.write() as connection:
            for calibration in fitted:
                calibrations.put(connection, calibration)
    if json:
        print_json({"fitted": [one.model_dump() for one in fitted], "too_few": too_few})
        return
    rows = [(c.labeller, c.rows, c.slope, c.intercept, c.fitted) for c in fitted]
    print_table("calibrated", ("labeller", "corrections", "slope", "intercept", "on"), rows)
    if not fitted and not too_few:
        print("no correction in the store bears on a labeller yet (`run.py labels review` asks for some)")
    for labeller, count in too_few.items():
        print(f"{labeller}: {count} corrections bear on it, too few: its calibration stays as it is")


def review_labels(
    config: Config, store: Store, console: Console, read_key: ReadKey, *, limit: int = 20, above: float = 0.2
) -> int:
    """Show uncertain decisions and keep what the keys say as corrections. Returns how many were applied."""
    ingest = Ingest(store, config, detect_language)
    waiting = labels.uncertain(store.connection, above, config.labels.train_above, limit)
    given = 0
    for number, vote in enumerate(waiting, start=1):
        case = ingest.case(vote.decision_id)
        if case is None:
            continue
        console.rule(f"{number} of {len(waiting)}")
        _show(console, case, labels.votes_on(store.connection, vote.decision_id))
        console.print("[b]i[/]gnored  [b]f[/]ollowed  [b]s[/]kip  [b]q[/]uit")
        key = _answer(read_key)
        if key == "q":
            break
        if key in _ANSWERS:
            outcome = _correct(ingest, config, case, vote, _ANSWERS[key])
            given += outcome == "applied"
            if outcome != "applied":
                console.print(f"{outcome}, not applied: see `run.py held list`, or dead letters in `status`")
    console.print(f"{given} correction(s) given" if waiting else "nothing is uncertain")
    return given


def terminal_key() -> str:
    """Wait for one key of the terminal, without Enter."""
    import termios
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor, termios.TCSANOW)  # without throwing away what was typed ahead
        return os.read(descriptor, 1).decode(errors="replace")
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _answer(read_key: ReadKey) -> str:
    """Return the first key that means something; the end of the input means: stop."""
    while True:
        key = read_key().lower()
        if key in {*_ANSWERS, "s", "q"}:
            return key
        if not key or key in "\x03\x04":
            return "q"


def _show(console: Console, case: Case, votes: list[Label]) -> None:
    decision = case.decision
    for turn in (*decision.context[-_CONTEXT_TURNS:], decision.turn, *case.following):
        calls = "".join(f"\n[{call.name} {call.arguments}]" for call in turn.tool_calls)
        text = Text((turn.content + calls)[-_CONTEXT_CHARACTERS:])
        here = turn.event_id == decision.turn.event_id
        console.print(Panel(text, title=turn.role, border_style="bold yellow" if here else "dim"))
    texts = {direction.id: direction.text for direction in decision.directions}
    for direction in decision.directions:
        console.print(Text(f"direction ({direction.scope}): {direction.text}", style="cyan"))
    for vote in votes:
        about = f" on {texts.get(vote.direction_id, vote.direction_id)!r}" if vote.direction_id else ""
        console.print(Text(f"{vote.labeller}: {vote.verdict} {vote.confidence:.2f}{about}: {vote.evidence}"))


def _correct(ingest: Ingest, config: Config, case: Case, vote: Label, verdict: Verdict) -> Outcome:
    texts = {direction.id: direction.text for direction in case.decision.directions}
    correction = {
        "event_id": new_id(),
        "conversation_id": case.decision.conversation_id,
        "turn_event_id": case.decision.turn.event_id,
        "verdict": verdict,
        "direction": texts.get(vote.direction_id) if vote.direction_id else None,
        "author": getpass.getuser(),
    }
    return ingest.correction(config.bus.agent, correction, "cli")
