"""`run.py vectors ...`: behaviours as task vectors: made, looked at, combined, put into the live weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from learner.verbs import branches
from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.errors import InputError
from store.printing import print_json, print_table
from store.progress import Progressing, counted

if TYPE_CHECKING:
    from learner.vectors.blocks import Block, Shape
    from learner.vectors.file import VectorFile
    from learner.vectors.library import Library

commands = typer.Typer(
    no_args_is_help=True,
    help="Behaviours under version control: task vectors (W - W_base) and the graph of versions.",
    epilog="A vector fits the base that it was made on, and no other. `apply` is live; `remove` undoes it.",
)
commands.command("log")(branches.log)
commands.command("branch")(branches.branch)
commands.command("checkout")(branches.checkout)
commands.command("revert")(branches.revert)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Name = Annotated[str, typer.Argument(help="of a vector")]
Into = Annotated[str, typer.Option("--into", help="name of the new vector")]
Scale = Annotated[float, typer.Option(help="factor; negative takes the behaviour away")]


@commands.command("extract")
def extract(
    name: Name,
    start: Annotated[str, typer.Option("--from", help="version, tag, branch, or `base`")] = "base",
    to: Annotated[str | None, typer.Option(help="the same; absent: the version in force")] = None,
    json: Json = False,
) -> None:
    """Keep what changed from one version to another as a vector."""
    from learner.vectors.checkpoint import Checkpoint, difference

    with opened() as house:
        before, after, archive = house.version(start), house.version(to), house.archive
        changed = archive.changed(before) | archive.changed(after)
        shapes = {n: s for n, s in Checkpoint(house.model_dir).shapes.items() if n in changed}
        made = _watched(house).add(
            name,
            shapes,
            difference(archive.tensors(before, shapes), archive.tensors(after, shapes)),
            recipe=f"version {after.id} minus {before.id}",
            from_version=before.id,
            to_version=after.id,
        )
        show(f"vector {name}", _told(made), json=json)


@commands.command("train")
def train(
    name: Name,
    direction: Annotated[list[str], typer.Option(help="text in the direction of the stored examples")],
    json: Json = False,
) -> None:
    """Train one behaviour by itself, from the base and stored examples; nothing live is touched."""
    from learner.general_pool import load_or_make
    from learner.model import load_model
    from learner.trainer import Trainer
    from learner.vectors.training import learned
    from learner.vectors.training import train as take_course
    from store import examples

    with opened() as house:
        house.library.require_free(name)
        chosen = [e for e in examples.ready(house.store) if _about(e.direction, direction)]
        if not chosen:
            raise InputError(
                f"no stored example has a direction with {' or '.join(map(repr, direction))} in it"
            )
        say(f"{len(chosen)} examples; loading {house.model_dir.name}")
        settings = house.config.training
        base, tokenizer = load_model(house.model_dir)
        trainer = Trainer(load_model(house.model_dir)[0], tokenizer, base, settings, settings.seed)
        say("general replay: at first on a model, the base answers the pool's prompts, which takes minutes")
        pool = load_or_make(house.model_hash, base, tokenizer, settings.max_replay_tokens)
        done = take_course(trainer, chosen, pool, settings, _progress)
        shapes, changes = learned(trainer)
        recipe = f"trained from the base on {len(chosen)} examples of {', '.join(direction)}"
        made = _watched(house).add(name, shapes, changes, recipe=recipe, from_version="base")
        show(f"vector {name}", _told(made) | {"steps": done.steps, "loss": done.loss}, json=json)


@commands.command("list")
def list_vectors(json: Json = False) -> None:
    """List all vectors, and how often each is in the live weights; of a file that cannot be read, why."""
    with opened() as house:
        inside = _inside(house)
        rows = [_listed(house, name) | {"live": inside.get(name)} for name in house.library.names()]
    if json:
        print_json(rows)
    else:
        told = [
            (r["name"], r["live"], None, None, r["error"])
            if "error" in r
            else (r["name"], r["live"], r["norm"], f"{r['sparsity']:.1%}", r["recipe"])
            for r in rows
        ]
        print_table("vectors", ("name", "live", "norm", "zeros", "made by"), told)


def _listed(house: House, name: str) -> dict[str, Any]:
    try:
        return _told(house.library.open(name).description)
    except InputError as error:
        return {"name": name, "error": str(error)}


@commands.command("show")
def show_vector(
    name: Name,
    plot: Annotated[Path | None, typer.Option(help="draw its norms into a file (.png, .svg, .pdf)")] = None,
    json: Json = False,
) -> None:
    """Show norms by layer and kind of parameter, sparsity, and the angle to every other vector."""
    from learner.vectors.plot import plot_vector

    with opened() as house:
        vector = house.library.open(name)
        others = [n for n in house.library.names() if n != name]
        found = _told(vector.description) | {
            "by_layer": vector.description.summary.by_layer,
            "by_kind": vector.description.summary.by_kind,
            "cosine": {
                other: _cosine(house, vector, other) for other in counted("compared", others, len(others))
            },
            "live": _inside(house).get(name),
        }
    if plot is not None:
        plot_vector(vector.description, plot)
        say(f"drawn: {plot}")
    show(f"vector {name}", found, json=json)


def _cosine(house: House, vector: VectorFile, other: str) -> float | str:
    """Return the cosine with another vector, or why that cannot be read."""
    from learner.vectors.statistics import cosine

    try:
        return cosine(vector, house.library.open(other))
    except InputError as error:
        return str(error)


@commands.command("diff")
def diff(one: Name, other: Name, json: Json = False) -> None:
    """Compare two vectors: norm of the difference, cosine, and the layers that differ most."""
    from learner.vectors.algebra import Combination
    from learner.vectors.statistics import cosine, summary, tally_of

    with opened() as house, Progressing("comparing", 2) as progress:
        a, b = house.library.open(one), house.library.open(other)
        progress.at("the difference")
        between = summary(tally_of(Combination(((1.0, a), (-1.0, b)))).tensors)
        progress.advance()
        progress.at("the angle")
        angle = cosine(a, b)
    found = {
        "norms": {one: a.description.summary.norm, other: b.description.summary.norm},
        "norm_of_difference": between.norm,
        "cosine": angle,
        "difference_by_layer": between.by_layer,
        "difference_by_kind": between.by_kind,
    }
    show(f"{one} and {other}", found, json=json)


@commands.command("compose")
def compose(
    expression: Annotated[str, typer.Argument(help="like A+0.5*B-C")],
    into: Annotated[str | None, typer.Option(help="keep as a new vector, instead of applying it")] = None,
    json: Json = False,
) -> None:
    """Put a weighted sum of vectors into the live weights, one version each; or keep it as a vector."""
    with opened(write=True) as house:
        combined = house.library.combine(expression)
        if into is None:
            show(expression, house.order("apply_vector", {"expression": expression}), json=json)
        else:
            show(f"vector {into}", _told(_watched(house).keep(into, combined, expression)), json=json)


@commands.command("merge")
def merge(
    names: Annotated[list[str], typer.Argument(help="vectors, at least two")],
    into: Into,
    method: Annotated[Literal["ties", "average", "dare"], typer.Option(help="how")] = "ties",
    keep: Annotated[float, typer.Option(min=0.001, max=1, help="ties: share of entries that stay")] = 0.2,
    scale: Annotated[
        float | None, typer.Option(help="ties: lambda of the paper; absent: as strong as the sum")
    ] = None,
    drop: Annotated[float, typer.Option(min=0, max=0.99, help="dare: share of entries that go")] = 0.9,
    seed: Annotated[int, typer.Option(help="dare: which ones")] = 0,
    json: Json = False,
) -> None:
    """Merge vectors: TIES (trim, elect signs, disjoint mean, lambda), DARE (drop, rescale, add), or mean."""
    from learner.vectors.algebra import Combination, average
    from learner.vectors.dare import Dropped
    from learner.vectors.expression import require_scale
    from learner.vectors.ties import Ties

    if len(set(names)) < 2:
        raise InputError("merge needs at least two different vectors")
    with opened() as house:
        parts = [house.library.open(name) for name in names]
        told: dict[str, Any] = {}
        if method == "ties":
            say("reading the vectors: what stays of each, and how strong the merge must be")
            ties = Ties(parts, keep, None if scale is None else require_scale(scale))
            recipe = f"TIES of {', '.join(names)}, keeping {keep:g}, times {ties.scale:.4g}"
            told = _told(_watched(house).keep(into, ties, recipe))
            found = ties.conflicts()
            told |= {"scale": ties.scale, "conflicts": {"entries": found.entries, "share": found.share}}
        elif method == "dare":
            dropped = Combination(
                tuple((1.0, Dropped(p, drop, f"{seed}/{n}")) for n, p in zip(names, parts, strict=True))
            )
            told = _told(
                _watched(house).keep(into, dropped, f"DARE of {', '.join(names)}, dropping {drop:g}")
            )
        else:
            told = _told(_watched(house).keep(into, average(parts), f"mean of {', '.join(names)}"))
    show(f"vector {into}", told, json=json)


@commands.command("negate")
def negate(name: Name, into: Into, json: Json = False) -> None:
    """Keep the opposite of a vector."""
    from learner.vectors.algebra import scaled

    with opened() as house:
        made = _watched(house).keep(into, scaled(house.library.open(name), -1.0), f"-{name}")
    show(f"vector {into}", _told(made), json=json)


@commands.command("apply")
def apply(name: Name, scale: Scale = 1.0, json: Json = False) -> None:
    """Add a vector, times a scale, to the live weights; the result is a version."""
    from learner.vectors.expression import require_scale

    with opened(write=True) as house:
        house.library.open(name)
        done = house.order("apply_vector", {"name": name, "scale": require_scale(scale)})
    show(f"applied {name}", done, json=json)


@commands.command("remove")
def remove(name: Name, json: Json = False) -> None:
    """Take a vector out of the live weights: the same bytes, if nothing came since; else by subtraction."""
    with opened(write=True) as house:
        done = house.order("remove_vector", {"name": name})
    if not done["bit_for_bit"]:
        say("the weights changed since it was applied: it was subtracted, which is not byte-exact")
    show(f"removed {name}", done, json=json)


@commands.command("delete")
def delete(name: Name) -> None:
    """Delete a vector's file. What was applied stays in the weights."""
    with opened() as house:
        if name in _inside(house):
            raise InputError(f"vector {name!r} is in the live weights: `vectors remove {name}` first")
        house.library.remove(name)
    say(f"deleted {name}")


@commands.command("export")
def export(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="a new folder")],
    checkpoint: Annotated[bool, typer.Option("--checkpoint", help="base + vector, as a whole model")] = False,
    scale: Scale = 1.0,
) -> None:
    """Write a vector, or the base with it, for other programs: safetensors and a model card."""
    from learner.vectors.checkpoint import Checkpoint
    from learner.vectors.export import export_checkpoint, export_vector
    from learner.vectors.expression import require_scale

    with opened() as house:
        vector, base = house.library.open(name), house.serving["model_name"]
        if checkpoint:
            whole = Checkpoint(house.model_dir)
            elements = sum(prod(shape) for shape in whole.shapes.values())
            with Progressing(f"writing {folder}", elements) as progress:
                written = export_checkpoint(
                    vector, require_scale(scale), whole, base, folder, progress.advance
                )
        else:
            written = export_vector(vector, base, folder)
    print_json({"vector": name, "file": str(written)})


@commands.command("import")
def import_vector(
    name: Name,
    source: Annotated[
        Path, typer.Argument(help="a vector's file, or the folder of a checkpoint of this base")
    ],
    json: Json = False,
) -> None:
    """Take in a vector from a file, or the difference of a whole checkpoint to the base."""
    from learner.vectors.blocks import blocks
    from learner.vectors.checkpoint import Checkpoint, checkpoint_blocks, differing
    from learner.vectors.file import VectorFile

    with opened() as house:
        base = Checkpoint(house.model_dir)
        if source.is_dir():
            other = Checkpoint(source)
            shapes = differing(other, base)
            changes, recipe = (
                checkpoint_blocks(other, base, shapes),
                f"checkpoint {source.name} minus the base",
            )
        else:
            vector = VectorFile(source).require_base(house.model_hash)
            shapes, changes = vector.shapes, blocks(vector)
            recipe = vector.description.recipe
            _require_places(vector.path, shapes, base.shapes)
        made = _watched(house).add(name, shapes, changes, recipe=recipe)
        show(f"vector {name}", _told(made), json=json)


def _require_places(path: Path, shapes: dict[str, Any], known: dict[str, Any]) -> None:
    for name, shape in shapes.items():
        if known.get(name) != shape:
            raise InputError(
                f"{path}: {name} {shape} is not in the base model ({known.get(name, 'unknown')})"
            )


def _watched(house: House) -> Library:
    """Return the library; the writing of a new vector shows how far it is."""
    from learner.vectors.library import Library

    return Library(house.home, house.model_hash, _passing)


def _passing(changes: Iterable[Block], shapes: dict[str, Shape], what: str) -> Iterator[Block]:
    with Progressing(what, sum(prod(shape) for shape in shapes.values())) as progress:
        for block in changes:
            yield block
            progress.advance(block[3].numel())


def _inside(house: House) -> dict[str, float]:
    from store import applications

    found: dict[str, float] = {}
    for application in applications.in_weights(house.store, house.version(None)):
        found[application.vector] = found.get(application.vector, 0.0) + application.scale
    return found


def _about(direction: str | None, wanted: list[str]) -> bool:
    return direction is not None and any(text.lower() in direction.lower() for text in wanted)


def _progress(step: int, planned: int, loss: float) -> None:
    say(f"step {step} of {planned}, loss {loss:.3f}")


def _told(description: Any) -> dict[str, Any]:
    numbers = description.summary
    return {
        "name": description.name,
        "id": description.id,
        "recipe": description.recipe,
        "from_version": description.from_version,
        "to_version": description.to_version,
        "model_hash": description.model_hash,
        "norm": numbers.norm,
        "sparsity": numbers.sparsity,
        "tensors": len(description.numbers),
        "entries": numbers.entries,
    }
