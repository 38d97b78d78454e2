"""Parses the command line of nsbrokerd, and runs the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from importlib import import_module

from ..config import ConfigError
from .common import CommandError, report

COMMANDS = {
    "serve": "run the broker (SIGHUP reloads its configuration, SIGTERM stops it)",
    "check": "check the configuration, and what this host supports",
    "explain": "show whether a request would be allowed, and by which grant",
    "sockets": "list the live sockets of grants with limits",
    "revoke": "revoke live sockets of grants with limits: they can't send or receive any more",
}
"""Names and summaries. The file of this name has `add_arguments` and `run`."""


def main() -> int:
    """Run the command of sys.argv. Return the exit status."""
    arguments = build_parser(sys.argv[1:]).parse_args()
    run: Callable[[argparse.Namespace], int] = arguments.run
    try:
        return run(arguments)
    except (CommandError, ConfigError) as error:
        return report(error)


def build_parser(words: Collection[str]) -> argparse.ArgumentParser:
    """Return a parser for these words. It imports only the commands that are among them, because imports take time."""
    parser = argparse.ArgumentParser(
        prog="nsbrokerd", description="Makes sockets inside network namespaces for programs without privileges."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name in words:
            module = import_module(f".{name}", __package__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser
