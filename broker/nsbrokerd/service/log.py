"""The log, on standard error: readable lines on a terminal, otherwise JSON lines. The audit is separate.

Lines for the journal begin with their priority, such as `<3>`. Source: sd-daemon(3).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from functools import partialmethod

import structlog
from structlog.typing import EventDict, WrappedLogger

from .line_quota import LineQuota
from .service_manager import is_journal

_STDERR = 2

_TO_JSON = structlog.processors.JSONRenderer()

line_quota = LineQuota()
"""The log belongs to the whole process, and so does its quota."""


class _StandardError:
    """Standard error. A line that can't be written is lost: a full disk or a lost journal must not end the broker."""

    def __init__(self, *, has_priorities: bool) -> None:
        self._has_priorities = has_priorities

    def _write(self, priority: int, line: str) -> None:
        prefix = f"<{priority}>" if self._has_priorities else ""
        with contextlib.suppress(OSError):
            os.write(_STDERR, (prefix + line).encode(errors="backslashreplace") + b"\n")

    debug = partialmethod(_write, 7)
    info = partialmethod(_write, 6)
    warning = partialmethod(_write, 4)
    error = partialmethod(_write, 3)


def _make_printable(_logger: WrappedLogger, _level: str, line: EventDict) -> EventDict:
    """Escape all characters that could control a terminal or turn its text around. JSON lines escape them anyway."""
    return {
        key: "".join(char if char.isprintable() else repr(char)[1:-1] for char in value)
        if isinstance(value, str)
        else value
        for key, value in line.items()
    }


def set_up_log(level: str) -> None:
    """Log messages of this level and of the levels above it."""
    is_terminal = sys.stderr.isatty()
    output = _StandardError(has_priorities=is_journal(_STDERR, os.environ))
    structlog.configure(
        processors=[
            line_quota,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            *([_make_printable, structlog.dev.ConsoleRenderer()] if is_terminal else [_TO_JSON]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: output,
        cache_logger_on_first_use=False,
    )
