"""`run.py doctor`, `config show`, `schema`: about the installation, a model, and the contract."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer
from pydantic import BaseModel

from agent.diagnosis.proof import Prove, findings_of
from agent.diagnosis.store import Live, examine_store
from agent.doctor import examine, exit_code
from policies import messages, topics
from policies.config import Config
from store.home import home_of
from store.printing import print_json, print_table
from store.settings import flatten, load_config, origins

commands = typer.Typer(no_args_is_help=True, help="Look at the configuration.")

PAYLOADS: dict[topics.Channel, tuple[type[BaseModel], ...]] = {
    "turns": (messages.TurnPayload,),
    "corrections": (messages.CorrectionPayload,),
    "commands": (messages.CommandPayload,),
    "status": (messages.StatusPayload,),
    "events": (
        messages.LabelEvent,
        messages.StepEvent,
        messages.ProbeEvent,
        messages.VersionEvent,
        messages.RollbackEvent,
        messages.AlertEvent,
        messages.ReplyEvent,
    ),
}


_VERDICT = ("every weight is live", "cannot be learned as it is")


class Proofs(Protocol):
    """What only the learner can look at; `learner.proof`, handed in by the command line."""

    prove: Prove
    """starts a server of a model, and proves that its weights are live"""
    disagreements: Live
    """compares the live weights of a running system with its store"""


def show_doctor(config: Config, proofs: Proofs, *, model: bool, store: bool, json: bool) -> None:
    """Print what the doctor finds: of the installation, of the model, or of the store.

    Exit code 1 when something is wrong.
    """
    if store:
        findings, title = examine_store(home_of(config), proofs.disagreements), "store"
    elif model:
        findings = findings_of(proofs.prove(config.server))
        title = f"{config.server.model}: {_VERDICT[exit_code(findings)]}"
    else:
        findings, title = examine(config), "doctor"
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(f.name, f.verdict, f.detail, f.advice) for f in findings]
        print_table(title, ("what", "verdict", "found", "what to do"), rows)
    raise typer.Exit(exit_code(findings))


@commands.command("show")
def show_config(
    file: Annotated[Path | None, typer.Option("--config", help="TOML file; absent: ./heedloop.toml")] = None,
    json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Show every setting, its value and where it comes from."""
    config = load_config(file)
    values, places = flatten(config.model_dump(mode="json")), origins(config)
    if json:
        print_json({key: {"value": value, "origin": places[key]} for key, value in values.items()})
    else:
        rows = [(key, value, places[key]) for key, value in values.items()]
        print_table("configuration", ("key", "value", "from"), rows)


def print_schema(*, asyncapi: bool) -> None:
    """Print the JSON schemas by topic, or the AsyncAPI document made of them."""
    print_json(asyncapi_document() if asyncapi else schemas())


def schemas() -> dict[str, Any]:
    """Return the JSON schema of every payload, by topic."""
    return {
        topics.topic("<agent>", channel): {"oneOf": [model.model_json_schema() for model in models]}
        for channel, models in PAYLOADS.items()
    }


def asyncapi_document() -> dict[str, Any]:
    """Return the contract as an AsyncAPI 3.0 document."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel, models in PAYLOADS.items():
        named = {model.__name__: {"payload": model.model_json_schema()} for model in models}
        channels[channel] = {
            "address": topics.topic("{agent}", channel),
            "parameters": {"agent": {"description": "id of the agent"}},
            "messages": named,
        }
        action = "receive" if channel in topics.INBOUND else "send"
        operations[f"{action}_{channel}"] = {
            "action": action,
            "channel": {"$ref": f"#/channels/{channel}"},
            "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in named],
            "bindings": {"mqtt": {"qos": 1, "retain": channel == "status"}},
        }
    return {
        "asyncapi": "3.0.0",
        "defaultContentType": "application/json",
        "info": {
            "title": "heedloop",
            "version": "1",
            "description": "What heedloop hears and says",
        },
        "channels": channels,
        "operations": operations,
    }
