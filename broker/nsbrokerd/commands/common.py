"""Arguments and error reports that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..config import DEFAULT_CONFIG_PATH, DEFAULT_SEAL_PATH


class CommandError(ValueError):
    """An argument makes no sense. The message names it and the remedy."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option --config."""
    parser.add_argument("--config", type=Path, default=Path(DEFAULT_CONFIG_PATH), help="default: %(default)s")


def add_seal(parser: argparse.ArgumentParser) -> None:
    """Add the option --seal."""
    text = "where the broker keeps its limits (broker.seal of its configuration); default: %(default)s"
    parser.add_argument("--seal", metavar="DIRECTORY", type=Path, default=Path(DEFAULT_SEAL_PATH), help=text)


def report(error: Exception) -> int:
    """Print an error. Return the exit status."""
    advice = ": run this command as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    for line in f"{error}{advice}".splitlines():
        print(f"nsbrokerd: {line}", file=sys.stderr)
    return 2
