"""A block of uids that belongs to this test run alone.

A user's descriptors in flight and processes are counted by its uid, for the whole machine. With uids of their own, the
tests can't disturb another program or another test run, and these can't disturb the tests.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

_BLOCK = 1024
_FIRST, _END = 0x70000000, 0x7FFF0000
"""No distribution gives these to users, services or containers. Source: systemd's UIDS-GIDS.md."""

_claims: list[socket.socket] = []
"""The claims, which last as long as this process or a child of it lives."""


def claim_uids() -> range:
    """Return a block of uids that no other test run has, and that /etc/subuid gives to no user."""
    delegated = [*_delegated(Path("/etc/subuid")), *_delegated(Path("/etc/subgid"))]
    # A random block, because its uids can still have descriptors in flight if a test run that had it was killed.
    chance = random.SystemRandom()
    while True:
        first = chance.randrange(_FIRST, _END, _BLOCK)
        block = range(first, first + _BLOCK)
        if not any(_overlap(block, other) for other in delegated) and _is_claimed(first):
            return block


def _is_claimed(first: int) -> bool:
    """Claim the block that begins here, and return whether it was free."""
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0nsbroker-tests-{first}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def _delegated(path: Path) -> Iterator[range]:
    """The ids that a file like /etc/subuid delegates. Source: subuid(5)."""
    if path.exists():
        for line in path.read_text().splitlines():
            _, first, count = line.split(":")
            yield range(int(first), int(first) + int(count))


def _overlap(one: range, other: range) -> bool:
    return one.start < other.stop and other.start < one.stop
