"""`nsbrokerd reload` lets the broker load its configuration again, waits for the outcome, and reports it."""

from __future__ import annotations

import argparse
import sys

from ..config.paths import read_paths
from ..control.asking import RefusedError, UnreachableError, ask
from ..control.packets import RELOAD, Request
from .common import add_config, report
from .output import printable

_TIMEOUT_S = 60.0
"""Loading limits can take seconds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    try:
        policy = ask(read_paths(arguments.config).control, Request(RELOAD), _TIMEOUT_S)
    except RefusedError as error:
        for line in str(error).splitlines():
            print(f"nsbrokerd: {printable(line)}", file=sys.stderr)
        print("nsbrokerd: not reloaded: what was in force before stays in force", file=sys.stderr)
        return 1
    except UnreachableError as error:
        status = report(error)
        print("nsbrokerd: SIGHUP reloads a broker without a control socket: the log has the outcome", file=sys.stderr)
        return status
    print(f"reloaded (grants: {policy['grants']}, in force since {policy['since']})")
    return 0
