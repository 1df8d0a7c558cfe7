"""What an experiment runs on: models, seeds, how much time it may take, and how it tells of progress."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from learner.base_model import model_hash, resolve_model
from learner.experiments.course import Models
from learner.experiments.report import Report
from learner.general_pool import load_or_make
from learner.model import load_model
from policies.config import Config, TrainingConfig
from policies.example import Example

Tell = Callable[[str], None]
"""Takes one line of progress."""


def _commit() -> str:
    """Return the commit of the code, or that it runs outside a checkout."""
    root = Path(__file__).parents[2]
    asked = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        found = subprocess.run(asked, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown (no git checkout)"
    return found.stdout.strip()


@dataclass(frozen=True)
class Setting:
    """One run of an experiment.

    `cache` is a folder that outlives it, for what is dear and can be taken again; `home` is the state folder,
    for experiments that look at the user's own examples; `stored` asks one that can to teach those.
    """

    model: str
    seeds: tuple[int, ...]
    quick: bool
    config: Config
    home: Path
    cache: Path
    stored: bool = False
    tell: Tell = field(default=lambda line: print(line, file=sys.stderr, flush=True))
    began: float = field(default_factory=time.monotonic)
    commit: str = field(default_factory=_commit)

    @property
    def training(self) -> TrainingConfig:
        """The training settings of the configuration."""
        return self.config.training

    @cached_property
    def folder(self) -> Path:
        """The folder of the model's checkpoint."""
        return resolve_model(self.model, lambda what, fraction: None)

    @cached_property
    def hash(self) -> str:
        """The hash of the base model's bytes."""
        return model_hash(self.folder)

    @cached_property
    def models(self) -> Models:
        """The model that is trained, and the frozen base; `models.reset()` puts the first back."""
        base, tokenizer = load_model(self.folder)
        return Models(load_model(self.folder)[0], base, tokenizer)

    @cached_property
    def pool(self) -> list[Example]:
        """The general replay pool, answered by the base."""
        models = self.models
        return load_or_make(self.hash, models.base, models.tokenizer, self.training.max_replay_tokens)

    def report(self, **found: Any) -> Report:
        """Return the report of what was found: the run's own particulars are added."""
        return Report(
            seeds=self.seeds,
            quick=self.quick,
            model=self.model,
            model_hash=self.hash,
            seconds=time.monotonic() - self.began,
            commit=self.commit,
            **found,
        )
