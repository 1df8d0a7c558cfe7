"""Every error that a user can meet. Each carries the exit code of the command line (README.md)."""

from __future__ import annotations


class HeedloopError(Exception):
    """Root of our errors: its text is the one line that a user reads."""

    exit_code = 1


class ConfigError(HeedloopError, ValueError):
    """A setting, flag or file name that cannot be used as given."""

    exit_code = 2


class InputError(HeedloopError, ValueError):
    """A record from outside that cannot be read; it is kept as a dead letter."""

    exit_code = 2


class UnsupportedModel(ConfigError):
    """A model whose weights cannot be live (quantised, mixture of experts, MLA ...)."""


class GuardRefused(HeedloopError):
    """The guard or a rule of the learner said no; nothing was applied."""

    exit_code = 3


class Interrupted(HeedloopError):
    """Somebody asked it to stop before it was done."""

    exit_code = 130


class Unreachable(HeedloopError, ConnectionError):
    """A broker, server or process that is needed does not answer."""

    exit_code = 69
