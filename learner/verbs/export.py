"""`run.py export ...`: what was judged and what was learned, for other people's tools."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from learner.verbs import versions
from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.choosing import Apart, LeftOut, Wanted, since_of
from policies.errors import InputError
from policies.redaction import redact
from policies.training_shapes import Shape, rows_of
from policies.window import CHARACTERS_PER_TOKEN
from store import examples
from store.clock import now_ms
from store.judged import judged
from store.printing import print_json, print_table
from store.rows_file import STDOUT, require_free, write_rows

commands = typer.Typer(
    no_args_is_help=True,
    help="For other tools: judged answers for TRL and OpenAI, the model as a folder or as a LoRA adapter.",
    epilog="Rows go to stdout or a file; what was left out, and why, is said on stderr.",
)
commands.command("model")(versions.export)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
_RANK = 16


@commands.command("rows")
def rows(
    shape: Annotated[Shape, typer.Argument(help="whose rows, and for what kind of training")],
    output: Annotated[Path, typer.Option("--output", "-o", help="a new file; - is stdout")] = STDOUT,
    force: Annotated[bool, typer.Option("--force", help="replace a file that is there")] = False,
    label: Annotated[
        Literal["followed", "ignored"] | None, typer.Option(help="only answers that count as this")
    ] = None,
    direction: Annotated[str | None, typer.Option(help="only with this text in the direction")] = None,
    since: Annotated[str | None, typer.Option(help="only answers from then on: 2026-01-31, 12h, 7d")] = None,
    min_confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="of a label; absent: `labels.train_above`")
    ] = None,
    labeller: Annotated[str | None, typer.Option(help="only what this labeller has the word on")] = None,
    held: Annotated[bool, typer.Option("--held", help="also what waits for a person's word")] = False,
    quarantined: Annotated[bool, typer.Option("--quarantined", help="also what the guard took out")] = False,
    rehearsals: Annotated[
        bool, typer.Option("--rehearsals", help="also answers that rehearse others")
    ] = False,
) -> None:
    """Write judged answers as JSON lines for TRL (SFT, DPO, KTO) or OpenAI (chats, preferences)."""
    require_free(output, force=force)
    apart: dict[Apart, bool] = {"held": held, "quarantined": quarantined, "rehearsals": rehearsals}
    with opened() as house:
        wanted = Wanted(
            verdict=label,
            direction=direction,
            since=None if since is None else since_of(since, now_ms()),
            min_confidence=house.config.labels.train_above if min_confidence is None else min_confidence,
            labeller=labeller,
            include=frozenset(name for name, asked in apart.items() if asked),
        )
        left_out: Counter[str] = Counter()
        written = write_rows(output, _shaped(house, shape, wanted, left_out))
    for reason, count in left_out.most_common():
        say(f"left out: {count} ({reason})")
    if not written:
        raise InputError(f"nothing to export as {shape}: no judged answer fits (see above)")
    say(f"exported: {written} rows{'' if output == STDOUT else f' to {output}'}")


@commands.command("lora")
def lora(
    version: versions.Name,
    folder: Annotated[Path, typer.Argument(help="a new folder")],
    rank: Annotated[int | None, typer.Option(min=1, help="of every matrix (absent: 16)")] = None,
    energy: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="the least rank that keeps this share of the change")
    ] = None,
    measure: Annotated[bool, typer.Option(help="say what is lost (takes minutes)")] = True,
    json: Json = False,
) -> None:
    """Write what a version learned as a LoRA adapter (PEFT), and measure what that loses."""
    from dataclasses import asdict

    from learner.exporting.card import rows_of as lost_by
    from learner.exporting.folder import export_adapter

    if rank is not None and energy is not None:
        raise InputError("--rank and --energy: give one of them")
    with opened() as house:
        found = house.version(version)
        adapter, measured = export_adapter(
            house.archive,
            (house.version("base"), found),
            folder,
            base=house.serving["model_name"],
            rank=None if energy is not None else rank or _RANK,
            energy=energy,
            learned=examples.learned(house.store) if measure else None,
            max_tokens=house.config.training.max_decision_tokens,
            tell=say,
        )
    told = {"version": found.id, "folder": str(folder), "rank": adapter.rank, "kept": adapter.kept}
    told |= {"left_out": sorted(adapter.left_out)}
    if json:
        print_json(told | {"measured": {k: asdict(v) for k, v in (measured or {}).items()}})
        return
    show(f"version {found.id} as a LoRA adapter", told, json=False)
    if measured is not None:
        print_table(
            "what it loses", ("weights", "NLL", "KL to version", "follow"), lost_by(adapter, measured)
        )


def _shaped(house: House, shape: Shape, wanted: Wanted, left_out: Counter[str]) -> Iterator[dict[str, Any]]:
    characters = house.config.training.max_context_tokens * CHARACTERS_PER_TOKEN
    for answer in judged(house.store, wanted, characters, left_out):
        try:
            yield from (_redacted(row) for row in rows_of(shape, answer))
        except LeftOut as reason:
            left_out[str(reason)] += 1


def _redacted(value: Any) -> Any:
    """Take secrets out once more: stored text lost them when it came, answers of the model did not."""
    if isinstance(value, str):
        return redact(value, lambda kind, _: f"<secret:{kind}>")
    if isinstance(value, list):
        return [_redacted(part) for part in value]
    if isinstance(value, dict):
        return {name: _redacted(part) for name, part in value.items()}
    return value
