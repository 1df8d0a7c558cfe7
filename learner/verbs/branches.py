"""`run.py vectors log | branch | checkout | revert`: the graph of versions."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.errors import InputError
from store import applications, branches, versions
from store.printing import print_json, print_table

Json = Annotated[bool, typer.Option("--json", help="print JSON")]


def log(json: Json = False) -> None:
    """Show the graph of versions, newest first: parents, branches, and which vectors are in each."""
    with opened() as house:
        rows = _graph(house)
        here = branches.current(house.store)
    if json:
        print_json({"branch": here, "versions": rows})
        return
    columns = ("", "version", "parent", "kind", "branches", "vectors in it", "note")
    print_table(
        f"versions (on branch {here})",
        columns,
        [
            (
                "*" if row["in_force"] else "",
                row["version"],
                row["parent"],
                row["kind"],
                " ".join(row["branches"]),
                " ".join(f"{scale:+g}*{name}" for name, scale in row["vectors"].items()),
                row["note"],
            )
            for row in rows
        ],
    )


def branch(
    name: Annotated[str | None, typer.Argument(help="of a new branch; absent: list them")] = None,
    start: Annotated[str | None, typer.Option("--from", help="version; absent: the one in force")] = None,
    json: Json = False,
) -> None:
    """List the branches, or make one. Nothing live changes: `vectors checkout` goes there."""
    if name is None:
        with opened() as house:
            found = _branches(house)
        if json:
            print_json(found)
        else:
            print_table("branches", ("", "name", "version"), [tuple(row.values()) for row in found])
        return
    from learner.vectors.expression import require_name

    with opened(write=True) as house:
        if branches.get(house.store, require_name(name)) or name == branches.current(house.store):
            raise InputError(f"there is a branch {name!r} already (`vectors checkout {name}` goes there)")
        target, live = house.version(start), house.version(None)
        with house.store.write() as connection:
            branches.settle(connection, branches.current(house.store), live)
            branches.put(connection, name, target.id)
        show(f"branch {name}", {"branch": name, "version": target.id}, json=json)


def checkout(
    to: Annotated[str, typer.Argument(help="a branch, a version, or `base`")],
    new: Annotated[
        bool, typer.Option("--new", help="make the branch, from the base, if it is unknown")
    ] = False,
    json: Json = False,
) -> None:
    """Make a branch, or a version, the live weights. Nothing that was learned elsewhere is lost."""
    with opened(write=True) as house:
        wanted = house.version(to).id if to == "base" else to
        if not new and branches.get(house.store, wanted) is None:
            versions.require(house.store, wanted)
        show(f"checkout {to}", house.order("check_out", {"to": wanted, "create": new}), json=json)


def revert(
    version: Annotated[str, typer.Argument(help="the version whose change goes")], json: Json = False
) -> None:
    """Take out of the live weights what one version changed, whatever came after it."""
    with opened(write=True) as house:
        done = house.order("revert", {"version": house.version(version).id})
    if not done["bit_for_bit"]:
        say("the weights changed since: it was subtracted, which is not byte-exact")
    show(f"reverted {version}", done, json=json)


def _graph(house: House) -> list[dict[str, Any]]:
    in_force = house.version(None)
    named: dict[str, list[str]] = {}
    for row in _branches(house):
        named.setdefault(row["version"], []).append(row["branch"])
    graph = versions.every(house.store)
    vectors = applications.in_each(applications.every(house.store), graph)
    return [
        {
            "in_force": version.id == in_force.id,
            "version": version.id,
            "parent": version.parent,
            "kind": version.kind,
            "state": version.state,
            "branches": named.get(version.id, []),
            "vectors": applications.scales(vectors[version.id]),
            "note": version.note,
            "created": version.created,
        }
        for version in reversed(graph)
    ]


def _branches(house: House) -> list[dict[str, Any]]:
    here, live = branches.current(house.store), house.version(None)
    found = {one.name: one.version_id for one in branches.every_branch(house.store)} | {here: live.id}
    return [{"here": "*" if n == here else "", "branch": n, "version": v} for n, v in sorted(found.items())]
