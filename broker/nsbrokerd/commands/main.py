"""Parses the command line of nsbrokerd, and runs the command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Collection
from importlib import import_module

from ..config import ConfigError
from ..service.version import version
from .common import CommandError, report

COMMANDS = {
    "serve": "run the broker (SIGHUP reloads its configuration, SIGTERM stops it)",
    "check": "check the configuration, and what this host supports",
    "explain": "show whether a request would be allowed, and by which grant",
    "status": "show what the broker does: policy, clients, requests, quotas, faults",
    "health": "say in one line whether the broker answers and has no fault",
    "reload": "let the broker load its configuration again, and report the outcome",
    "metrics": "serve the status in the format of Prometheus",
    "sockets": "list the live sockets that were handed out",
    "revoke": "cut off live sockets of grants with limits: all that match every given option",
    "grant": "let a user have sockets in a namespace, by a grant in a file of its own",
    "ungrant": "undo nsbrokerd grant",
    "install": "set up this host for an installation by pip: units, group, directories, links",
    "uninstall": "undo nsbrokerd install",
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
    parser.add_argument("--version", action=_PrintVersion, nargs=0, help="print the version")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary)
        if name in words:
            module = import_module(f".{name}", __package__)
            module.add_arguments(command)
            command.set_defaults(run=module.run)
    return parser


class _PrintVersion(argparse.Action):
    """Finds out the version only if it is asked for, because that takes time."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.exit(0, f"nsbrokerd {version()}\n")
