"""What is there, what is missing, and what to do about it: `run.py doctor`. Looks, but starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from agent.diagnosis import installation, machine, services
from agent.diagnosis.finding import Finding, Verdict
from policies.config import Config
from store.home import home_of

__all__ = ["Finding", "Verdict", "examine", "exit_code"]

Check = Callable[[Config, Path], Iterator[Finding]]

_CHECKS: tuple[Check, ...] = (
    installation.python,
    installation.packages,
    installation.plugin,
    installation.traps,
    installation.programs,
    machine.processor,
    machine.gpu,
    machine.memory,
    machine.shared_memory,
    machine.disk,
    services.settings,
    services.state_folder,
    services.store,
    services.model,
    services.broker,
    services.ports,
    services.server,
    services.prefix_cache,
)


def examine(config: Config) -> list[Finding]:
    """Run every check, in the order in which a person would fix things."""
    home = home_of(config)
    return [finding for check in _CHECKS for finding in check(config, home)]


def exit_code(findings: Sequence[Finding]) -> int:
    """Return 1 when something is missing that heedloop cannot run without or a proof failed, else 0."""
    return int(any(finding.verdict in ("missing", "failed") for finding in findings))
