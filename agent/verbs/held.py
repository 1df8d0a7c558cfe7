"""`run.py held`: corrections and examples that wait for a person's word before they train."""

from __future__ import annotations

from typing import Annotated

import typer

from agent.ingest import Ingest
from agent.language import detect_language
from policies.config import Config
from policies.errors import InputError
from store import corrections, examples, reviews, wakeup
from store.database import Store, open_existing, open_read_only
from store.home import home_of
from store.printing import moment, print_json, print_table
from store.settings import load_config

commands = typer.Typer(
    no_args_is_help=True,
    help="See what waits for your word before it trains, and give it (settings: section trust).",
)
Identifiers = Annotated[list[str], typer.Argument(metavar="ID...", help="as `held list` prints them")]


@commands.command("list")
def show_held(json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """List what waits, oldest first, each with the reason."""
    with open_read_only(home_of(load_config())) as store:
        rows = [dict(row) for row in reviews.waiting(store)]
    if json:
        print_json(rows)
        return
    columns = ("id", "what", "since", "author", "why", "direction", "answer")
    print_table("held", columns, [_row(row) for row in rows])


@commands.command("accept")
def accept(identifiers: Identifiers) -> None:
    """Let corrections or examples train."""
    _decide(load_config(), identifiers, "accepted")


@commands.command("refuse")
def refuse(identifiers: Identifiers) -> None:
    """Never train on these."""
    _decide(load_config(), identifiers, "refused")


def _decide(config: Config, identifiers: list[str], verdict: reviews.Verdict) -> None:
    """Record one verdict on several things, all or none. Raises InputError for an id that does not wait."""
    home = home_of(config)
    with open_existing(home) as store:
        subjects = {one: reviews.subject_of(store, one) for one in identifiers}
        unknown = [one for one, subject in subjects.items() if subject is None]
        if unknown:
            raise InputError(f"{unknown[0]!r} does not wait for a decision (see `held list`)")
        for one, subject in subjects.items():
            _decide_one(store, config, subject, one, verdict)
    wakeup.notify(home, "learner")
    print_json({verdict: identifiers})


def _decide_one(
    store: Store, config: Config, subject: reviews.Subject | None, identifier: str, verdict: reviews.Verdict
) -> None:
    if subject == "correction" and verdict == "accepted":
        Ingest(store, config, detect_language).accept_correction(identifier)
        return
    with store.write() as connection:
        if subject == "correction":
            corrections.set_state(connection, identifier, "rejected")
        elif verdict == "accepted":
            examples.release(connection, identifier)
        reviews.decide(connection, subject or "example", identifier, verdict)


def _row(row: dict[str, object]) -> tuple[object, ...]:
    since = row["created"]
    return (
        row["id"],
        row["subject"],
        moment(since if isinstance(since, int) else None),
        row["author"],
        row["reason"],
        row["direction"],
        row["chosen"],
    )
