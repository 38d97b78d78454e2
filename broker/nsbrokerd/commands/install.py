"""`nsbrokerd install` sets up a host for an installation by pip: units, group, directories, links."""

from __future__ import annotations

import argparse
import os
import sys
import sysconfig
from pathlib import Path

from ..setup.installation import Place, find_place, install
from ..setup.report import Report, StepError
from .common import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_root(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    place = place_of(arguments.root)
    report = Report()
    install(place, report)
    return 1 if report.has_failed else 0


def add_root(parser: argparse.ArgumentParser) -> None:
    """Add the option --root."""
    text = "the root directory of another host, for example of an image; default: %(default)s"
    parser.add_argument("--root", metavar="DIRECTORY", type=Path, default=Path("/"), help=text)


def place_of(root: Path) -> Place:
    """Return the place of the installation that runs now.

    Raises:
        CommandError: it can't be set up there.
    """
    root = Path(os.path.realpath(root))
    if not root.is_dir():
        raise CommandError(f"there is no directory {root}: give the root directory of an image")
    if root == Path("/") and os.geteuid() != 0:
        raise CommandError("only root can set up a host: run this command as root, or for an image with --root")
    try:
        return find_place(root, _program())
    except StepError as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{error}: install nsbroker with pip, which makes this program") from error


def _program() -> Path:
    """Return the path of the nsbrokerd that was started, or of the one that pip made for this Python."""
    started = Path(os.path.realpath(sys.argv[0]))
    return started if started.name == "nsbrokerd" else Path(sysconfig.get_path("scripts")) / "nsbrokerd"
