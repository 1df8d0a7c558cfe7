"""`run.py quarantine`: what the guard took out of training, why, and a person's word on it."""

from __future__ import annotations

from typing import Annotated

import typer

from policies.errors import InputError
from store import quarantine, wakeup
from store.database import open_existing, open_read_only
from store.home import home_of
from store.printing import moment, print_json, print_table
from store.settings import load_config

commands = typer.Typer(
    no_args_is_help=True,
    help="See what the guard took out of training. What its search for the cause finds innocent comes back by"
    " itself, once; the rest waits for your word.",
)
Identifiers = Annotated[list[str], typer.Argument(metavar="ID...", help="as `quarantine list` prints them")]


@commands.command("list")
def show(json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """List what is in quarantine, oldest first: the reason, and how far it caused the breach (1: most)."""
    with open_read_only(home_of(load_config())) as store:
        rows = [dict(row) for row in quarantine.waiting(store)]
    if json:
        print_json(rows)
        return
    names = ("id", "created", "score", "author", "direction", "chosen", "rehearsals", "reason")
    cells = [{**row, "created": moment(row["created"])} for row in rows]
    print_table("quarantine", names, [[row[name] for name in names] for row in cells])


@commands.command("release")
def release(identifiers: Identifiers) -> None:
    """Train on these again, with their rehearsals: they were right."""
    _decide(identifiers, "released")


@commands.command("drop")
def drop(identifiers: Identifiers) -> None:
    """Never train on these."""
    _decide(identifiers, "dropped")


def _decide(identifiers: list[str], word: quarantine.Word) -> None:
    """Record one word on several examples, all or none. Raises InputError for one that is not there."""
    home = home_of(load_config())
    with open_existing(home) as store, store.write() as connection:
        for identifier in identifiers:
            if not quarantine.decide(connection, identifier, word):
                raise InputError(f"{identifier!r} is not in quarantine (see `quarantine list`)")
    wakeup.notify(home, "learner")
    print_json({word: identifiers})
