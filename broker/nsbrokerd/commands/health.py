"""`nsbrokerd health` says in one line whether the broker answers and has no fault, for probes."""

from __future__ import annotations

import argparse

from ..config import ConfigError
from ..config.paths import read_paths
from ..control.asking import AskError, ask
from ..control.packets import STATUS, Request
from .common import add_config
from .output import printable

TIMEOUT_S = 1.5
"""A probe gets its answer within two seconds, with the start of this program."""

_FAULTY, _UNREACHABLE = 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status: 1 if the broker has a fault, 2 if it does not answer."""
    try:
        status = ask(read_paths(arguments.config).control, Request(STATUS), TIMEOUT_S)
    except (AskError, ConfigError) as error:
        _print(f"not healthy: {error}")
        return _UNREACHABLE
    faults = "; ".join(f"{place}: {fault}" for place, fault in status["faults"].items())
    if faults:
        _print(f"not healthy: {faults}")
        return _FAULTY
    policy = status["policy"]
    _print(f"healthy: serving (grants: {policy['grants']}, in force since {policy['since']})")
    return 0


def _print(text: str) -> None:
    """Print one line, whatever is in the text."""
    print(printable(" ".join(text.split())))
