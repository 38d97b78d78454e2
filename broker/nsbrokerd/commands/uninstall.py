"""`nsbrokerd uninstall` undoes `nsbrokerd install`."""

from __future__ import annotations

import argparse

from ..setup.installation import uninstall
from ..setup.report import Report
from .install import add_root, place_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_root(parser)
    parser.add_argument(
        "--purge",
        action="store_true",
        help="also remove the configuration with all grants, the audit, the groups, and the limits of sockets in use, "
        "which then lose all access",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    report = Report()
    uninstall(place_of(arguments.root), report, purge=arguments.purge)
    return 1 if report.has_failed else 0
