"""`run.py versions ...`: the durable versions: listed, named, compared, searched, exported, deleted."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.errors import InputError
from store import examples, probes, versions
from store.printing import print_json, print_table
from store.progress import counted
from store.versions import Version

if TYPE_CHECKING:
    from learner.versioning.bisection import Items, Source

commands = typer.Typer(
    no_args_is_help=True,
    help="Durable versions of the live weights: a graph by their parents (`rollback --to` goes to one).",
    epilog="A version is named by its id, the start of it, a tag, a branch, `base`, or `live`.",
)
Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Name = Annotated[
    str, typer.Argument(metavar="VERSION", help="id, start of it, tag, branch, `base` or `live`")
]
_SYSTEMS = 2


@commands.command("list")
def show_list(json: Json = False) -> None:
    """List all versions, oldest first: parent, steps, size, tags, notes."""
    with opened() as house:
        tags = versions.tags(house.store)
        rows = [v.model_dump() | {"tags": tags.get(v.id, [])} for v in versions.every(house.store)]
    if json:
        print_json(rows)
        return
    columns = (
        "version",
        "parent",
        "kind",
        "steps",
        "MB",
        "of full",
        "ms",
        "moments",
        "state",
        "tags",
        "note",
    )
    print_table("versions", columns, [_line(row) for row in rows])


@commands.command("tag")
def tag(
    version: Name,
    name: Annotated[str, typer.Argument(help="its new name")],
    remove: Annotated[bool, typer.Option("--remove", help="take the name away instead")] = False,
) -> None:
    """Name a version. One with a name is kept for ever."""
    with opened(write=True) as house:
        found = house.version(version)
        if not remove and (name in ("base", "live") or versions.get(house.store, name) not in (None, found)):
            raise InputError(f"{name!r} already names another version (see `versions list`)")
        if not remove and found.state != "good":
            raise InputError(f"version {found.id} is {found.state}: its weights are gone")
        if remove and name not in versions.tags(house.store).get(found.id, []):
            raise InputError(f"version {found.id} has no tag {name!r}")
        with house.store.write() as connection:
            if remove:
                versions.untag(connection, name)
            else:
                versions.tag(connection, found.id, name)
        say(f"{name} {'was taken from' if remove else 'names'} {found.id}")


@commands.command("note")
def note(version: Name, text: Annotated[str, typer.Argument(help="what to remember")]) -> None:
    """Add a remark to a version; earlier ones stay."""
    with opened(write=True) as house:
        found = house.version(version)
        with house.store.write() as connection:
            versions.add_note(connection, found.id, text)


@commands.command("diff")
def diff(
    first: Name,
    second: Name,
    most: Annotated[int, typer.Option(help="tensors to show, those that moved most; 0: all")] = 20,
    json: Json = False,
) -> None:
    """Say which tensors differ between two versions, by how much, and which probes moved."""
    from learner.versioning.difference import probe_changes, tensor_changes

    with opened() as house:
        a, b = house.version(first), house.version(second)
        changes = counted("tensors compared", tensor_changes(house.archive, a, b))
        moved = sorted(changes, key=lambda change: -change.relative_norm)
        judged = probe_changes(_scores(house, a), _scores(house, b))
    found = {"from": a.id, "to": b.id, "tensors_changed": len(moved), "probes": judged}
    if json:
        print_json(found | {"tensors": [asdict(one) for one in moved]})
        return
    columns = ("tensor", "norm of change", "relative", "share of elements", "elements")
    rows = [tuple(asdict(one).values()) for one in moved[: most or None]]
    print_table(f"{len(moved)} tensors differ from {a.id} to {b.id}", columns, rows)
    print_table(
        "probes",
        ("probe", "before", "after", "change", "items"),
        [(n, *p.values()) for n, p in judged.items()],
    )


@commands.command("bisect")
def bisect(
    probe: Annotated[str, typer.Argument(help="nll, facts, kl, leak, follow ...")],
    good: Annotated[str, typer.Option(help="a version where it was well")] = "base",
    bad: Annotated[str, typer.Option(help="a later version where it is not")] = "live",
    limit: Annotated[float | None, typer.Option(help="broken beyond; absent: half-way between both")] = None,
    measure: Annotated[bool, typer.Option("--measure", help="run the probe; believe no record")] = False,
    json: Json = False,
) -> None:
    """Find the version, and so the steps, that broke a probe, by binary search.

    Recorded values are taken where there are any; else the probe runs on a model with that version's weights.
    """
    from learner.versioning import bisection

    with opened() as house:
        path = _between(house, house.version(good), house.version(bad))
        measured = _Measured(house, probe)

        def look(version: Version) -> tuple[Items, Source]:
            known = None if measure else bisection.recorded(house.store, version, probe)
            return (measured.items(version), "measured") if known is None else (known, "recorded")

        found = bisection.bisect(path, look, limit)
        bad_one = found.first_bad
        first, last = bad_one.first_step, bad_one.last_step
    told: dict[str, Any] = {
        "probe": probe,
        "first_bad": bad_one.id,
        "kind": bad_one.kind,
        "steps": f"{first}-{last}" if first else "none: see its note",
        "note": bad_one.note,
        "last_good": found.last_good.id,
        "limit": found.threshold,
        "versions": len(path),
        "looked_at": [asdict(one) for one in found.seen],
    }
    if json:
        print_json(told)
        return
    looked = [tuple(asdict(one).values()) for one in found.seen]
    print_table(f"{probe} at", ("version", "value", "items", "where from", "broken"), looked)
    show(
        "broken by (`show STEP` leads to the sentences)",
        {k: v for k, v in told.items() if k != "looked_at"},
        json=False,
    )


@commands.command("export")
def export(
    version: Name, folder: Annotated[Path, typer.Argument(help="a new folder")], json: Json = False
) -> None:
    """Write a version as a Hugging Face checkpoint, which any server can serve (vLLM: --dtype bfloat16)."""
    from learner.versioning.export import export as write

    with opened() as house:
        found = house.version(version)
        if found.state == "dropped":
            raise InputError(f"version {found.id} was retired: its file is gone (see `versions list`)")
        files = write(house.archive, found, folder)
    show(f"version {found.id}", {"version": found.id, "folder": str(folder), "files": files}, json=json)


@commands.command("prune")
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would go, delete nothing")] = False,
    json: Json = False,
) -> None:
    """Delete the files that no kept version needs: settings `guard.keep_*`, tags, the version in force."""
    from learner.versioning.retire import retire

    with opened(write=not dry_run) as house:
        gone = retire(house.store, house.archive, house.config.guard, dry_run=dry_run)
    show("would go" if dry_run else "pruned", asdict(gone), json=json)


class _Measured:
    """Runs one probe on models with the weights of versions; they are loaded at the first need."""

    def __init__(self, house: House, probe: str) -> None:
        self._house, self._probe, self._loaded = house, probe, None

    def items(self, version: Version) -> Items:
        """Load the weights of a version into the model and run the probes."""
        import torch

        suite, parameters = self._loaded or self._load()
        self._loaded = (suite, parameters)
        say(f"measuring {self._probe} at {version.id}")
        with torch.no_grad():
            for name, value in self._house.archive.tensors(version, parameters):
                parameters[name].copy_(value)
        store = self._house.store
        found = suite.run(examples.learned(store), examples.plain_systems(store, _SYSTEMS)).scores
        if not found.get(self._probe):
            raise InputError(f"no probe is called {self._probe!r}: there are {', '.join(sorted(found))}")
        return dict(found[self._probe])

    def _load(self) -> tuple[Any, dict[str, Any]]:
        from learner.model import load_model
        from learner.probing.material import load_material
        from learner.probing.suite import ProbeSuite
        from learner.rehearsal import follows

        material = load_material(self._house.config.guard.probes_file)
        say(f"loading {self._house.model_dir.name}, twice: a model to measure and the base beside it")
        model, tokenizer = load_model(self._house.model_dir)
        base, _ = load_model(self._house.model_dir)
        tokens = self._house.config.training.max_decision_tokens
        suite = ProbeSuite(model, base, tokenizer, material, follows, tokens)
        return suite, dict(model.named_parameters())


def _between(house: House, good: Version, bad: Version) -> list[Version]:
    """Return the restorable versions on the way from one to a later one, without rollbacks in between."""
    path = list(reversed(versions.path(house.store, bad)))
    ids = [version.id for version in path]
    if good.id not in ids or good.id == bad.id:
        raise InputError(
            f"{good.id} is no ancestor of {bad.id}: bisect follows parents (see `versions list`)"
        )
    return [v for v in path[ids.index(good.id) :] if v.state == "good" or v.id in (good.id, bad.id)]


def _scores(house: House, version: Version) -> dict[str, dict[str, float]]:
    row = house.store.row("SELECT max(id) AS id FROM probes WHERE version_id = ?", (version.id,))
    found = None if row is None else row["id"]
    if found is not None:
        return probes.scores(house.store, found)
    return probes.baseline(house.store) if version.parent is None else {}


def _line(row: dict[str, Any]) -> tuple[object, ...]:
    size, full = row["bytes"], row["full_bytes"]
    steps = f"{row['first_step']}-{row['last_step']}" if row["first_step"] else "-"
    share = f"{size / full:.3f}" if size and full else "-"
    size_mb = f"{size / 1e6:.1f}" if size else "-"
    ms = None if row["save_ms"] is None else round(row["save_ms"])
    what = (row["id"], row["parent"], row["kind"], steps, size_mb, share, ms)
    return (*what, row["moments"], row["state"], " ".join(row["tags"]), row["note"])
