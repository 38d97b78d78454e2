"""`nsbrokerd ungrant` undoes `nsbrokerd grant`."""

from __future__ import annotations

import argparse

from ..setup.granting import take, user_of
from ..setup.report import Report, StepError
from .common import CommandError, add_config
from .grant import add_pair, finish


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)
    add_pair(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    report = Report()
    user, missing = arguments.user, None
    try:
        user = user_of(arguments.user)
    except StepError as error:
        missing = error  # the grant of a user that was deleted since must go, too
    try:
        take(arguments.config, user, arguments.namespace, report)
    except StepError as error:
        raise CommandError(str(error)) from error
    if missing is None:
        return finish(report, arguments, user)
    if not report.has_changed:
        raise CommandError(str(missing))
    return 1 if report.has_failed else 0
