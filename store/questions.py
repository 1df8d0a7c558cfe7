"""Plain questions that the product brings along, in pools that share none: for demo and experiments."""

from __future__ import annotations

from importlib.resources import files

from pydantic import BaseModel, ConfigDict


class Questions(BaseModel):
    """`train` is corrected, `held_out` only scored, `load` is what the agent is asked otherwise."""

    model_config = ConfigDict(frozen=True)

    system: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    load: tuple[str, ...]


def load_questions() -> Questions:
    """Read the questions from the package."""
    return Questions.model_validate_json(files("store").joinpath("questions.json").read_text())
