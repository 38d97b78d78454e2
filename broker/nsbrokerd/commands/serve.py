"""`nsbrokerd serve` runs the broker in the foreground."""

from __future__ import annotations

import argparse

from ..service.lifecycle import serve
from .common import add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    return serve(arguments.config)
