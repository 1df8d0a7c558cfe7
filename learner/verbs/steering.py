"""`run.py steer ...`: directions in the residual stream of the live server: found, tried, switched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from learner.verbs.house import House, opened
from learner.verbs.printing import say, show
from policies.errors import InputError
from store.printing import print_json, print_table
from store.versions import Version

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from learner.steering.file import SteeringVector
    from learner.steering.making import Made
    from learner.steering.pairs import Pair
    from store.steering import Slot

commands = typer.Typer(
    no_args_is_help=True,
    help="Steering vectors: they act at once, on every request of the server, until they are off.",
)

Json = Annotated[bool, typer.Option("--json", help="print JSON")]
Name = Annotated[str, typer.Argument(help="of a steering vector")]
Scale = Annotated[float, typer.Option(help="times the strength that was found best; negative: the opposite")]
Layer = Annotated[int | None, typer.Option(help="absent: the layer that was found best")]
Prompts = Annotated[list[str], typer.Argument(help="what to ask the live server")]

LONGEST_PROMPT = 4096


@commands.command("extract")
def extract(
    name: Name,
    direction: Annotated[
        str | None, typer.Option(help="a direction of stored corrections, or a text in one or several")
    ] = None,
    pairs: Annotated[
        Path | None, typer.Option(help='JSON lines of {"prompt", "followed", "ignored"}')
    ] = None,
    check: Annotated[
        str | None, typer.Option(help="checkable, like `Write in lowercase.`; absent: the direction")
    ] = None,
    layer: Layer = None,
    json: Json = False,
) -> None:
    """Make a vector of contrast pairs: stored corrections of a direction, or a file.

    Layer and strength are those under which the model's answers to other prompts show the behaviour most.
    A vector of that name is made anew; where the old one is on, it stays on.
    """
    from learner.steering.making import make

    if (direction is None) == (pairs is None):
        raise InputError("give --direction TEXT, or --pairs FILE")
    with opened() as house:
        anew = house.steering.has(name)
        found, source, directions = _pairs(house, direction, pairs)
        say(f"{len(found)} pairs; loading {house.model_dir.name}")
        model, tokenizer = _model(house, None)
        layers = None if layer is None else [_in_range(layer, model.config.get_text_config())]
        checked = check or next(iter(directions), None)
        made = make(model, tokenizer, found, checked, layers, say)
        vector = _vector(house, name, made, len(found), source, directions)
        vector_id = house.steering.keep(vector, made.directions)
    if anew:
        say(f"{name} was made anew; versions keep the one they had, `steer on {name}` takes the new one")
    if made.choice.on <= made.choice.off:
        say(f"{name} makes no answer show it: this model may not be steered so, or the pairs differ in more")
    show(f"steering vector {name}", {"id": vector_id} | vector.model_dump(), json=json)


def _pairs(house: House, direction: str | None, file: Path | None) -> tuple[list[Pair], str, tuple[str, ...]]:
    """Return the pairs, where they are from, and the whole directions of those that are corrections."""
    from learner.steering import pairs as contrast
    from store import examples

    if file is not None:
        found = contrast.from_file(file)
        contrast.require_enough(found, f"--pairs {file}")
        return found, f"pairs of {file.name}", ()
    found, directions = contrast.from_corrections(str(direction), examples.ready(house.store))
    if len(directions) > 1:
        say(f"of {', '.join(map(repr, directions))} (one of them, whole, as --direction takes that alone)")
    return found, f"corrections of {direction!r}", directions


def _in_range(layer: int, config: Any) -> int:
    if not 0 <= layer < config.num_hidden_layers:
        raise InputError(
            f"layer {layer} is out of range: this model has layers 0 to {config.num_hidden_layers - 1}"
        )
    return layer


def _vector(
    house: House, name: str, made: Made, pairs: int, source: str, directions: tuple[str, ...]
) -> SteeringVector:
    from learner.steering.file import SteeringVector

    best = made.choice
    return SteeringVector(
        name=name,
        model_hash=house.model_hash,
        method=best.method,
        layer=best.layer,
        strength=best.scale,
        norm=float(made.directions.mean[best.layer].norm()),
        pairs=pairs,
        source=source,
        directions=directions,
        off=best.off,
        on=best.on,
        nll_ratio=best.nll_ratio,
        judge=made.judge,
    )


@commands.command("list")
def list_vectors(json: Json = False) -> None:
    """List all steering vectors, and the scale of those that are on.

    `made_anew`: since it was switched on; the one that was is still on.
    """
    from store import steering

    with opened() as house:
        on = {slot.name: slot for slot in steering.of_version(house.store, house.version(None))}
        rows = [_listed(house, name, on.get(name)) for name in house.steering.names()]
    if json:
        print_json(rows)
    else:
        columns = ("name", "on", "made_anew", "layer", "strength", "method", "pairs")
        told = [(*(row.get(key) for key in columns), row.get("source", row.get("error"))) for row in rows]
        print_table("steering vectors", (*columns, "source"), told)


def _listed(house: House, name: str, slot: Slot | None) -> dict[str, Any]:
    """Return the row of one vector; of a file that cannot be read, the reason."""
    on = None if slot is None else slot.scale
    try:
        vector, vector_id = house.steering.open(name), house.steering.id_of(name)
    except InputError as error:
        return {"name": name, "on": on, "error": str(error)}
    anew = slot is not None and slot.vector_id not in (None, vector_id)
    return {"id": vector_id} | vector.model_dump() | {"on": on, "made_anew": anew}


@commands.command("try")
def try_vector(
    name: Name, prompts: Prompts, scale: Scale = 1.0, layer: Layer = None, json: Json = False
) -> None:
    """Ask the live server with the vector and without. Others are steered meanwhile.

    No version is made. The prompts and answers stay in the store's row of this command, and in the learner's
    log, and go to the bus. A secret in a prompt is replaced before it is asked.
    """
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
    """Measure a vector against none and a random one of the same norm: follow-rate, leak, facts, NLL.

    Leak: how often the behaviour shows under unrelated directions. Answers are the live server's, and stay
    where those of `try` do; facts and general text are scored on the model with the live weights.
    """
    from learner.experiments.directions import OTHERS
    from learner.probing.material import load_material
    from learner.steering.extraction import random_rows
    from learner.steering.live import MOST_PROMPTS
    from learner.steering.verification import fisher, general, led_elsewhere, rates
    from policies.constraints import read_constraints

    constraints = read_constraints(direction).constraints
    if not constraints:
        raise InputError(f"--direction {direction!r}: nothing in it can be checked by code")
    count = len(prompts)
    if 2 * count > MOST_PROMPTS:
        raise InputError(f"{count} prompts: at most {MOST_PROMPTS // 2}")

    with opened(write=True) as house:
        asked = [*prompts, *led_elsewhere(prompts, OTHERS)]
        trial = _trial(house, name, asked, scale, layer) | {"random": True}
        say(f"asking the live server {3 * len(asked)} times: off, on, random")
        answers = house.order("steer", trial)
        found: dict[str, Any] = rates(
            {what: answers[what] for what in ("off", "on", "random")},
            lambda answer: all(c.check(answer) is not False for c in constraints),
            count,
        )
        rows = house.steering.rows(name, scale, layer)
        say("scoring facts and general text")
        trials = {"off": None, "on": rows, "random": random_rows(rows, 0)}
        found |= general(*_model(house, None), load_material().drawn(0), trials)
    follow = found["follow"]
    found["p_value"] = fisher(round(follow["on"] * count), round(follow["random"] * count), count)
    show(f"steering {name}", found | {"prompts": count}, json=json)


@commands.command("states")
def states(
    prompt: Annotated[str, typer.Argument(help="of a user; the chat template is put around it")],
    version: Annotated[str | None, typer.Option(help="absent: the one in force")] = None,
    layer: Annotated[int | None, typer.Option(help="absent: all")] = None,
    out: Annotated[Path | None, typer.Option(help="write the values: .safetensors, or .json")] = None,
    json: Json = False,
) -> None:
    """Read hidden states: the residual stream after each layer, and what recurrent layers carry on."""
    from learner.steering.states import require_suffix, states_of, write_states
    from learner.tokens import prompt_of

    if out is not None:
        require_suffix(out)
    with opened() as house:
        at = house.version(version)
        model, tokenizer = _model(house, at)
        ids = prompt_of(tokenizer, [{"role": "user", "content": prompt}], LONGEST_PROMPT).ids
        found = states_of(model, ids, layer)
        if out is not None:
            about = {"version": at.id, "model_hash": house.model_hash, "prompt": prompt}
            write_states(out, found, about)
            say(f"{len(found)} tensors in {out}")
    rows = [(name, list(state.shape), float(state.norm())) for name, state in found.items()]
    if json:
        shapes = {name: {"shape": shape, "norm": norm} for name, shape, norm in rows}
        print_json({"version": at.id, "tokens": tokenizer.convert_ids_to_tokens(list(ids)), "states": shapes})
    else:
        print_table(f"{len(ids)} tokens, version {at.id}", ("state", "shape", "norm"), rows)


def _model(house: House, version: Version | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the base model with the weights of a version; None is the one in force."""
    import torch

    from learner.model import load_model

    model, tokenizer = load_model(house.model_dir)
    parameters = dict(model.named_parameters())
    version = version or house.version(None)
    with torch.no_grad():
        for tensor, value in house.archive.tensors(version, house.archive.changed(version)):
            parameters[tensor].copy_(value)
    return model, tokenizer


def _trial(house: House, name: str, prompts: list[str], scale: float, layer: int | None) -> dict[str, Any]:
    return _slot(house, name, scale, layer) | {"action": "try", "prompts": prompts}


def _slot(house: House, name: str, scale: float, layer: int | None) -> dict[str, Any]:
    """Return the arguments for one vector. Raises InputError for what the learner would refuse."""
    from learner.vectors.expression import require_scale

    house.steering.rows(name, require_scale(scale), layer)
    return {"name": name, "scale": scale, **({} if layer is None else {"layer": layer})}
