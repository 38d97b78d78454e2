"""The log: everything but the audit. Readable on a terminal, JSON lines elsewhere; to standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

import structlog

_STDERR = 2


class _StandardError:
    """Goes on when nobody takes what it says: the disk is full, or the journal gone. Clients can make it speak."""

    def msg(self, line: str) -> None:
        """Write a line, if that can be done."""
        with contextlib.suppress(OSError):
            os.write(_STDERR, line.encode(errors="backslashreplace") + b"\n")

    debug = info = warning = error = msg


def set_up_log(level: str) -> None:
    """Log from this level on."""
    to_read = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if to_read else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _StandardError(),
        cache_logger_on_first_use=False,
    )
