"""Arguments and error reports that several commands share."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..config import DEFAULT_CONFIG_PATH
from ..config.paths import Paths


class CommandError(ValueError):
    """An argument makes no sense. The message names it and the remedy."""


def add_config(parser: argparse.ArgumentParser) -> None:
    """Add the option --config."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=Path(DEFAULT_CONFIG_PATH),
        help="the main file of the broker's configuration; default: %(default)s",
    )


def warn_about(paths: Paths) -> None:
    """Say why the paths of a broker may be the wrong ones."""
    if paths.problem is not None:
        print(f"nsbrokerd: {paths.problem}", file=sys.stderr)


def report(error: Exception) -> int:
    """Print an error. Return the exit status."""
    advice = ": run this command as root" if isinstance(error, PermissionError) and os.geteuid() != 0 else ""
    for line in f"{error}{advice}".splitlines():
        print(f"nsbrokerd: {line}", file=sys.stderr)
    return 2
