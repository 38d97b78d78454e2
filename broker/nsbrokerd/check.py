"""`nsbrokerd check`: is the configuration sound, and can this host do what it grants?"""

from __future__ import annotations

import os
from pathlib import Path

from .kernel import probe_kinds
from .kinds import KIND_OF_TRIPLE
from .load import load_config


def check(path: Path) -> list[str]:
    """Load the configuration; gives lines to read.

    Raises:
        ConfigError: with every problem of the configuration.
    """
    config = load_config(path)
    lines = [f"{path}: {len(config.policy.grants)} grants, no problem"]
    missing = {KIND_OF_TRIPLE[triple]: number for triple, number in probe_kinds(config.policy).items()}
    lines += [f"this kernel has no {kind} sockets: {os.strerror(number)}" for kind, number in sorted(missing.items())]
    return lines
