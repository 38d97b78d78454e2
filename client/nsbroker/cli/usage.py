"""`--help` and `--version`. Each text is a file of its own, help/VERB.txt, which is read only when it is asked for."""

from __future__ import annotations

import os

from .command import Command
from .output import print_text

_TEXTS = os.path.join(os.path.dirname(__file__), "help")
_OVERVIEW = "nsbroker-get"


def run(command: Command) -> int:
    """Print the help of a verb, of all together, or the version."""
    if command.verb == "version":
        print_text(f"nsbroker-get {_version()}\n")
    else:
        print_text(help_text(*command.args))
    return 0


def help_text(topic: str = _OVERVIEW) -> str:
    """Read the text about a verb; without one, that about all of them."""
    with open(os.path.join(_TEXTS, f"{topic}.txt"), encoding="utf-8") as file:
        return file.read()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("nsbroker")
    except PackageNotFoundError:
        return "(not installed)"
