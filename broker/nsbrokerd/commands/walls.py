"""Says which walls hold the limits, for `sockets` and `revoke`."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..policy.kinds import KIND_OF_TRIPLE
from ..seal import LiveSocket, is_installed, missing_hooks


def describe_walls(directory: Path, limited: Collection[LiveSocket]) -> list[str]:
    """Return a sentence about the walls, or nothing if the broker has no limits.

    Raises:
        OSError: the caller is not root.
    """
    if not is_installed(directory):
        return []
    if missing := missing_hooks(directory, {kind_of(one) for one in limited}):
        return [f"limits: only the first wall is complete; the second one lacks {', '.join(sorted(missing))}"]
    return ["limits: both walls hold"]


def kind_of(one: LiveSocket) -> str:
    """Return the policy's word for this kind of socket."""
    return KIND_OF_TRIPLE.get((one.family, one.type, one.protocol), f"{one.family}:{one.type}:{one.protocol}")
