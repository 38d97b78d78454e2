"""`nsbrokerd check` checks the configuration, and whether this host supports its grants."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..config import ConfigError
from ..config.load import load_config
from ..policy import Policy
from ..policy.kinds import KIND_OF_TRIPLE
from ..seal import why_unavailable
from ..sockets.kernel_support import probe_kinds
from .common import add_config


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_config(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    try:
        lines = check(arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def check(path: Path) -> list[str]:
    """Load the configuration. Return lines to print.

    Raises:
        ConfigError: with all problems of the configuration.
    """
    is_root = os.geteuid() == 0
    config = load_config(path, can_seal=not is_root)
    lines = [f"{path}: no problem (grants: {len(config.policy.grants)})"]
    missing = {KIND_OF_TRIPLE[triple]: number for triple, number in probe_kinds(config.policy).items()}
    lines += [
        f"this kernel can't make {kind} sockets: {os.strerror(number)}" for kind, number in sorted(missing.items())
    ]
    return [*lines, _describe_limits(config.policy, is_root=is_root)]


def _describe_limits(policy: Policy, *, is_root: bool) -> str:
    if not is_root:
        return "limits: not tested, because this takes root: run nsbrokerd check as root"
    # If the policy has limits, loading it has already tested them.
    reason = None if any(grant.limit is not None for grant in policy.grants) else why_unavailable()
    return "limits: this host can enforce them" if reason is None else f"limits: this host can't enforce any: {reason}"
