"""The log, on standard error: readable lines on a terminal, otherwise JSON lines. The audit is separate."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

import structlog

from .line_quota import LineQuota

_STDERR = 2

line_quota = LineQuota()
"""The log belongs to the whole process, and so does its quota."""


class _StandardError:
    """Standard error. A line that can't be written is lost: a full disk or a lost journal must not end the broker."""

    def msg(self, line: str) -> None:
        """Write a line if possible."""
        with contextlib.suppress(OSError):
            os.write(_STDERR, line.encode(errors="backslashreplace") + b"\n")

    debug = info = warning = error = msg


def set_up_log(level: str) -> None:
    """Log messages of this level and of the levels above it."""
    is_terminal = sys.stderr.isatty()
    structlog.configure(
        processors=[
            line_quota,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if is_terminal else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
