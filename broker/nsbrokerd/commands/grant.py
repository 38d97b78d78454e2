"""`nsbrokerd grant` gives a user a grant in a file of its own, and reports everything that the user can now do."""

from __future__ import annotations

import argparse
import sys

from ..config import ConfigError
from ..setup.grant_file import Wish
from ..setup.granting import describe, give, user_of
from ..setup.report import Report, StepError
from .common import CommandError, add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    parser.add_argument(
        "--sockets", metavar="KIND[,KIND]...", default="tcp,udp", help="the kinds of sockets; default: %(default)s"
    )
    parser.add_argument(
        "--bind",
        metavar="ADDRESS:PORT",
        action="append",
        default=[],
        help="an address that the broker binds with its own rights, low ports too, such as *:80; can be repeated",
    )
    parser.add_argument(
        "--connect",
        metavar="ADDRESS:PORT",
        action="append",
        help="a limit: the sockets can connect and send only to this address; can be repeated",
    )
    parser.add_argument(
        "--option", action="append", default=[], help="a privileged option, for example mark=0x10; can be repeated"
    )
    add_pair(parser)


def add_pair(parser: argparse.ArgumentParser) -> None:
    """Add the user and the namespace."""
    parser.add_argument("user", metavar="USER", help="name or id of a user")
    parser.add_argument("namespace", metavar="NS", help="name or pattern of a namespace, @host, or @own")


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    report = Report()
    try:
        wish = Wish(
            user_of(arguments.user),
            arguments.namespace,
            tuple(dict.fromkeys(arguments.sockets.split(","))),
            tuple(arguments.bind),
            tuple(arguments.option),
            None if arguments.connect is None else tuple(arguments.connect),
        )
        give(arguments.config, wish, report)
        return finish(report, arguments, wish.user)
    except StepError as error:
        raise CommandError(str(error)) from error


def finish(report: Report, arguments: argparse.Namespace, user: str) -> int:
    """Print everything that the user can do now. Return the exit status."""
    if report.has_failed:
        return 1
    try:
        for line in describe(arguments.config, user):
            print(line)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0
