"""`nsbrokerd check`: is the configuration sound, and can this host do what it grants?"""

from __future__ import annotations

import os
from pathlib import Path

from ..config.load import load_config
from ..policy import Policy
from ..policy.kinds import KIND_OF_TRIPLE
from ..seal import why_unavailable
from ..sockets.support import probe_kinds


def check(path: Path) -> list[str]:
    """Load the configuration; gives lines to read.

    Raises:
        ConfigError: with every problem of the configuration.
    """
    is_root = os.geteuid() == 0
    config = load_config(path, can_seal=not is_root)
    lines = [f"{path}: no problem (grants: {len(config.policy.grants)})"]
    missing = {KIND_OF_TRIPLE[triple]: number for triple, number in probe_kinds(config.policy).items()}
    lines += [f"this kernel has no {kind} sockets: {os.strerror(number)}" for kind, number in sorted(missing.items())]
    return [*lines, _say_limits(config.policy, is_root=is_root)]


def _say_limits(policy: Policy, *, is_root: bool) -> str:
    if not is_root:
        return "limits: only root can try whether this host can enforce them"
    # A policy with limits was refused when it was loaded, if they can't be enforced.
    is_tried = any(grant.limit is not None for grant in policy.grants)
    reason = None if is_tried else why_unavailable()
    return "limits: this host can enforce them" if reason is None else f"limits: this host can't enforce any: {reason}"
