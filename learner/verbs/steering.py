"""`run.py steer ...`: directions in the residual stream of the live server: found, tried, switched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.errors import InputError
from store.printing import print_json, print_table

commands = typer.Typer(
    no_args_is_help=True,
    help="Steering vectors: they act at once, on every request of the server, until they are off.",
)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Name = Annotated[str, typer.Argument(help="of a steering vector")]
Scale = Annotated[float, typer.Option(help="times the strength that was found best; negative: the opposite")]
Layer = Annotated[int | None, typer.Option(help="absent: the layer that was found best")]
Prompts = Annotated[list[str], typer.Argument(help="what to ask the live server")]

HELD_OUT = 3
"""One pair in so many is kept for choosing layer and strength."""


@commands.command("extract")
def extract(
    name: Name,
    direction: Annotated[str | None, typer.Option(help="text in the direction of stored corrections")] = None,
    pairs: Annotated[
        Path | None, typer.Option(help='JSON lines of {"prompt", "followed", "ignored"}')
    ] = None,
    layer: Layer = None,
    json: Json = False,
) -> None:
    """Make a vector of contrast pairs: stored corrections of a direction, or a file."""
    from learner.model import load_model
    from learner.steering import pairs as contrast
    from learner.steering.extraction import ANSWER_TOKENS, choose, find_directions
    from learner.steering.file import SteeringVector
    from store import examples

    if (direction is None) == (pairs is None):
        raise InputError("give --direction TEXT, or --pairs FILE")
    with opened() as house:
        if pairs is not None:
            found, source = contrast.from_file(pairs), f"pairs of {pairs.name}"
        else:
            chosen = [e for e in examples.ready(house.store) if (direction or "") in (e.direction or "")]
            found, source = contrast.from_examples(chosen), f"corrections of {direction!r}"
        contrast.require_enough(found)
        say(f"{len(found)} pairs; loading {house.model_dir.name}")
        model, tokenizer = load_model(house.model_dir)
        _move(model, house)
        ids = [contrast.ids_of(tokenizer, pair, ANSWER_TOKENS) for pair in found]
        learned = [pair for n, pair in enumerate(ids) if n % HELD_OUT != HELD_OUT - 1]
        held_out = ids[HELD_OUT - 1 :: HELD_OUT]
        directions = find_directions(model, learned)
        layers = directions.mean.shape[0]
        if layer is not None and not 0 <= layer < layers:
            raise InputError(f"layer {layer} is out of range: this model has layers 0 to {layers - 1}")
        best = choose(model, directions, held_out, None if layer is None else [layer], say)
        vector = SteeringVector(
            name=name,
            model_hash=house.model_hash,
            method=best.method,
            layer=best.layer,
            strength=best.scale,
            norm=float(directions.mean[best.layer].norm()),
            gain=best.gain,
            margin=best.margin,
            pairs=len(found),
            source=source,
            direction=direction,
        )
        house.steering.keep(vector, directions)
    show(f"steering vector {name}", vector.model_dump(), json=json)


@commands.command("list")
def list_vectors(json: Json = False) -> None:
    """List all steering vectors, and the scale of those that are on."""
    from store import steering

    with opened() as house:
        on = {slot.name: slot.scale for slot in steering.of_version(house.store, house.version(None))}
        rows = [house.steering.open(n).model_dump() | {"on": on.get(n)} for n in house.steering.names()]
    if json:
        print_json(rows)
    else:
        columns = ("name", "on", "layer", "strength", "method", "pairs", "source")
        print_table("steering vectors", columns, [tuple(row[key] for key in columns) for row in rows])


@commands.command("try")
def try_vector(
    name: Name, prompts: Prompts, scale: Scale = 1.0, layer: Layer = None, json: Json = False
) -> None:
    """Ask the live server with the vector and without; nothing is stored. Others are steered meanwhile."""
    with opened(write=True) as house:
        done = house.order("steer", _trial(house, name, prompts, scale, layer))
    if json:
        print_json(done)
    else:
        rows = list(zip(prompts, done["off"], done["on"], strict=True))
        print_table(f"{name} * {scale:g}", ("prompt", "without", "with"), rows)


@commands.command("on")
def on(name: Name, scale: Scale = 1.0, layer: Layer = None, json: Json = False) -> None:
    """Switch a vector on, for every request; the switch is a version, and `rollback` undoes it, too."""
    with opened(write=True) as house:
        done = house.order("steer", _slot(house, name, scale, layer) | {"action": "on"})
    show(f"steering {name}", done, json=json)


@commands.command("scale")
def scale_vector(
    name: Name, scale: Annotated[float, typer.Argument(help="the new scale")], json: Json = False
) -> None:
    """Change the scale of a vector that is on."""
    with opened(write=True) as house:
        done = house.order("steer", _slot(house, name, scale, None) | {"action": "scale"})
    show(f"steering {name}", done, json=json)


@commands.command("off")
def off(
    name: Annotated[str | None, typer.Argument(help="absent: all of them")] = None, json: Json = False
) -> None:
    """Switch a vector off; with none on, answers are those of before, bit for bit."""
    with opened(write=True) as house:
        done = house.order("steer", {"action": "off", **({} if name is None else {"name": name})})
    show("steering", done, json=json)


@commands.command("train")
def train(name: Name, json: Json = False) -> None:
    """Let the weights take over what a vector does: its scale falls as they learn it, and it goes off."""
    with opened(write=True) as house:
        done = house.order("steer", _slot(house, name, 1.0, None) | {"action": "train"})
    show(f"steering {name}", done, json=json)


@commands.command("verify")
def verify(
    name: Name,
    prompts: Prompts,
    direction: Annotated[str, typer.Option(help="checkable, like `Write in lowercase.`")],
    scale: Scale = 1.0,
    layer: Layer = None,
    json: Json = False,
) -> None:
    """Measure follow-rate off, on, and with a random vector of the same norm, and what general text loses."""
    from policies.constraints import read_constraints

    constraints = read_constraints(direction).constraints
    if not constraints:
        raise InputError(f"--direction {direction!r}: nothing in it can be checked by code")

    def rate(answers: list[str]) -> float:
        return sum(all(c.check(a) is not False for c in constraints) for a in answers) / len(answers)

    with opened(write=True) as house:
        trial = _trial(house, name, prompts, scale, layer) | {"random": True}
        answers = house.order("steer", trial)
        found: dict[str, Any] = {what: rate(answers[what]) for what in ("off", "on", "random")}
        found |= {"prompts": len(prompts), "nll_ratio": _cost(house, name, scale, layer)}
    show(f"steering {name}", found, json=json)


def _cost(house: House, name: str, scale: float, layer: int | None) -> float:
    """Return by which factor the vector raises the negative log-likelihood of general text."""
    from learner.model import load_model
    from learner.probing.material import load_material
    from learner.steering.activations import nll_ratio

    model, tokenizer = load_model(house.model_dir)
    _move(model, house)
    return nll_ratio(model, tokenizer, load_material().texts, house.steering.rows(name, scale, layer))


def _move(model: Any, house: House) -> None:
    """Give a base model the weights of the version in force."""
    import torch

    parameters = dict(model.named_parameters())
    version = house.version(None)
    with torch.no_grad():
        for tensor, value in house.archive.tensors(version, house.archive.changed(version)):
            parameters[tensor].copy_(value)


def _trial(house: House, name: str, prompts: list[str], scale: float, layer: int | None) -> dict[str, Any]:
    return _slot(house, name, scale, layer) | {"action": "try", "prompts": prompts}


def _slot(house: House, name: str, scale: float, layer: int | None) -> dict[str, Any]:
    """Return the arguments for one vector. Raises InputError for what the learner would refuse."""
    from learner.vectors.expression import require_scale

    house.steering.rows(name, require_scale(scale), layer)
    return {"name": name, "scale": scale, **({} if layer is None else {"layer": layer})}
