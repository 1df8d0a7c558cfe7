"""The command line of heedloop: an always-on loop that makes a live agent heed direction."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.verbs import held, labels, logs, orders, past, present, quarantine, setup, window
from learner.verbs import experiment, export, steering, vectors, versions
from policies.config import Config
from policies.errors import HeedloopError
from store.home import home_of
from store.printing import print_json
from store.settings import load_config

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Correct your agent once; the live model changes; nothing pauses.",
    epilog="Exit codes: 0 ok, 1 failed, 2 usage or configuration, 3 refused by the guard, 69 unreachable.",
)
rooms = {"config": setup, "labels": labels, "held": held, "quarantine": quarantine, "ui": window}
rooms |= {"versions": versions, "vectors": vectors, "steer": steering}
rooms |= {"experiment": experiment, "export": export}
for name, room in rooms.items():
    app.add_typer(room.commands, name=name)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
ConfigFile = Annotated[Path | None, typer.Option("--config", help="TOML file; absent: ./heedloop.toml")]
Model = Annotated[str | None, typer.Option(help="`smollm2`, a folder, or a Hugging Face name")]
Watch = Annotated[list[str] | None, typer.Option(help="logs to follow: files, folders or globs")]
Seed = Annotated[int, typer.Option(help="draws the corrections")]
Text = Annotated[str | None, typer.Option()]
Branch = Annotated[str | None, typer.Option(help="learn on this branch; a new one starts at the base")]
Kept = Annotated[bool, typer.Option("--store", help="is everything there exactly once, and live?")]
Forgetting = Annotated[bool, typer.Option("--forgetting", help="is what came first still followed?")]
Refresh = Annotated[bool, typer.Option("--watch", help="refresh every second")]


def _load(file: Path | None = None, **overrides: Any) -> Config:
    return load_config(file, {k.replace("__", "."): v for k, v in overrides.items() if v not in (None, ())})


@app.command()
def up(config: ConfigFile = None, model: Model = None, watch: Watch = None, branch: Branch = None) -> None:
    """Run everything until SIGTERM: server, learner, loop, and a broker unless one is configured."""
    from agent.up import run_up
    from learner import serving
    from store.logs import configure_logs

    settings = _load(config, server__model=model, source__watch=tuple(watch or ()))
    configure_logs("up", settings.log.level)
    raise typer.Exit(asyncio.run(run_up(settings, serving, branch)))


@app.command()
def demo(seed: Seed = 0, model: Model = "smollm2") -> None:
    """See it learn: ten corrections, a live server that starts to heed, poison that is caught and undone."""
    from agent.demo.play import run_demo

    print_json(asyncio.run(run_demo(Path(__file__), home_of(_load()), seed, str(model))))


@app.command()
def status(json: Json = False, watch: Refresh = False) -> None:
    """Say what is going on: processes, queues, labels, steps, version, last probe, dead letters."""
    present.show_status(_load(), json=json, watch=watch)


@app.command()
def ingest(
    files: Annotated[list[Path], typer.Argument(help="logs of agents")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="read and label, store nothing")] = False,
    json: Json = False,
) -> None:
    """Read logs: parse, cut into decision points, label, store."""
    logs.show_ingest(_load(), files, dry_run=dry_run, json=json)


@app.command()
def label(file: Annotated[Path, typer.Argument(help='rows of {"id", "messages"}, or - for stdin')]) -> None:
    """Label rows of messages: one JSON line for each (row, decision, direction)."""
    logs.show_labels(_load(), file)


@app.command()
def correct(
    turn: Annotated[str, typer.Argument(help="event id of the assistant turn")],
    verdict: Annotated[str, typer.Option(help="ignored or followed")] = "ignored",
    direction: Text = None,
    corrected: Text = None,
    author: Text = None,
) -> None:
    """Say that one answer ignored its direction; better, with the direction and the right answer."""
    orders.give_correction(_load(), turn, verdict, direction=direction, corrected=corrected, author=author)


@app.command()
def history(version: Text = None, forgetting: Forgetting = False, json: Json = False) -> None:
    """Show what was learned: versions (or one) with their steps and what the probes said."""
    past.show_past(_load(), version, forgetting=forgetting, json=json)


@app.command()
def show(identifier: Annotated[str, typer.Argument(metavar="ID")], json: Json = False) -> None:
    """Show one step, version, example, decision, direction, correction, command or event, with its links."""
    past.show_one(_load(), identifier, json=json)


@app.command()
def probe(json: Json = False) -> None:
    """Run all probes on the live weights now."""
    orders.give_command(_load(), "probe", {}, json=json)


@app.command()
def rollback(to: Text = None, json: Json = False) -> None:
    """Put the live weights back, bit for bit: to a version, or to before the last thing learned."""
    orders.give_command(_load(), "rollback", {} if to is None else {"to": to}, json=json)


@app.command()
def doctor(config: ConfigFile = None, model: Model = None, store: Kept = False, json: Json = False) -> None:
    """Say what is there and what is missing; with --model: prove in a live server that it can be learned."""
    from learner import proof

    setup.show_doctor(_load(config, server__model=model), proof, model=bool(model), store=store, json=json)


@app.command()
def schema(asyncapi: Annotated[bool, typer.Option(help="as an AsyncAPI document")] = False) -> None:
    """Print the JSON schemas of the bus contract."""
    setup.print_schema(asyncapi=asyncapi)


def main() -> None:
    """Run the command line; a mistake of the user's is one line on stderr and its exit code."""
    try:
        app()
    except HeedloopError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
