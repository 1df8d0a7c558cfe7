"""Names of weights: those of the text model that the learner trains, whatever the checkpoint calls them."""

from __future__ import annotations

_TEXT_PART = "model.language_model."


def text_name(name: str) -> str:
    """Name in the text model alone: a checkpoint that can also see keeps that model as a part of its own."""
    return f"model.{name.removeprefix(_TEXT_PART)}" if name.startswith(_TEXT_PART) else name
