"""The log: everything but the audit. Readable on a terminal, JSON lines elsewhere; to standard error."""

from __future__ import annotations

import logging
import sys

import structlog


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
