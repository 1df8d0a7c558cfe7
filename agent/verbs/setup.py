"""`run.py doctor`, `config show`, `schema`: about the installation, a model, and the contract."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import typer
from pydantic import BaseModel

from agent.diagnosis.proof import Prove, findings_of
from agent.doctor import examine, exit_code
from agent.verbs.output import print_json, print_table
from policies import messages, topics
from policies.config import Config
from store.settings import flatten, origins

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


def show_doctor(config: Config, prove: Prove | None, *, json: bool) -> None:
    """Print what the doctor finds, or what `prove` does of the model; exit code 1 when something is wrong."""
    findings = examine(config) if prove is None else findings_of(prove(config.server))
    code = exit_code(findings)
    if json:
        print_json([asdict(finding) for finding in findings])
    else:
        title = "doctor" if prove is None else f"{config.server.model}: {_VERDICT[code]}"
        rows = [(f.name, f.verdict, f.detail, f.advice) for f in findings]
        print_table(title, ("what", "verdict", "found", "what to do"), rows)
    raise typer.Exit(code)


def show_config(config: Config, *, json: bool) -> None:
    """Print every setting with its value and its origin."""
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
            "bindings": {"mqtt": {"qos": 1, "retain": channel == "status"}},
        }
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "heedloop",
            "version": "1",
            "description": "What heedloop hears and says",
        },
        "channels": channels,
        "operations": operations,
    }
