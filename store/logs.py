"""Logs of a process: readable lines on a terminal, JSON lines elsewhere; on stderr, for stdout is data.

Everything goes through structlog's formatter, also what libraries say through `logging`. Bind what a
stretch of work is about with `structlog.contextvars.bind_contextvars` (agent, conversation, version).
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from store.home import LOGS

_NOISY = ("httpx", "httpcore", "amqtt", "transitions", "asyncio", "watchfiles", "uvicorn.access")


def configure_logs(
    process: str, level: str = "info", home: Path | None = None, stream: TextIO | None = None
) -> None:
    """Send this process's log to `stream` (stderr) and, where `home` is given, to its logs/<process>.log.

    A supervised child leaves `home` out: the supervisor already keeps its stderr in that file.
    """
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_chain(process),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    out = stream or sys.stderr
    handlers: list[logging.Handler] = [logging.StreamHandler(out)]
    handlers[0].setFormatter(_formatter(process, readable=out.isatty()))
    if home is not None:
        handlers.append(_file_handler(process, home))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    root.setLevel(level.upper())
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _file_handler(process: str, home: Path) -> logging.Handler:
    path = home / LOGS / f"{process}.log"
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    path.chmod(0o600)
    handler.setFormatter(_formatter(process, readable=False))
    return handler


def _formatter(process: str, *, readable: bool) -> logging.Formatter:
    last: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if readable:
        last.append(structlog.dev.ConsoleRenderer(colors="NO_COLOR" not in os.environ))
    else:
        last += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
    return structlog.stdlib.ProcessorFormatter(processors=last, foreign_pre_chain=_chain(process))


def _chain(process: str) -> list[Processor]:
    """What every line gets, ours and a library's alike."""

    def name_process(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        name_process,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
