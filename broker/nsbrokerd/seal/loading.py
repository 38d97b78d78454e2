"""Loads the limits of a policy into the kernel: all at once, or not at all."""

from __future__ import annotations

import os
import struct

from ..policy import Policy
from . import bpf, layout
from .maps import MAX_GRANTS, RULES, SealMaps
from .sockets import grants_in_use

_FIRST = bytes(4)
"""The key of the only slot of a map."""

_WORD = struct.Struct("=I")


def load_limits(maps: SealMaps, policy: Policy) -> None:
    """Have these limits hold from now on, for sockets that were handed out as well.

    Raises:
        OSError: the kernel does not take them; those of before hold.
    """
    limits = {layout.grant_id(grant.name): grant.limit for grant in policy.grants}
    names = {layout.grant_id(grant.name): grant.name for grant in policy.grants if grant.limit is not None}
    known = set(map(layout.decode_grant_id, bpf.keys(maps.names, layout.GRANT_ID_BYTES)))
    if len(known | set(names)) > MAX_GRANTS:
        known -= _forget(maps, known - set(limits))
    for number in set(names) - known:
        bpf.update(maps.names, layout.encode_grant_id(number), layout.encode_name(names[number]))
    # Also of grants that had limits and have none: their sockets are sealed.
    kept = [number for number in limits if number in known or number in names]
    rules_fd = bpf.create_map("nsb_rules", RULES, max(1, len(kept)))
    try:
        for number in kept:
            bpf.update(rules_fd, layout.encode_grant_id(number), layout.encode_limit(limits[number]))
        put_in(maps.limits, rules_fd)
    finally:
        os.close(rules_fd)


def put_in(slot: int, fd: int) -> None:
    """Put a map or a program into the only slot of a map.

    Raises:
        OSError: the kernel does not take it.
    """
    bpf.update(slot, _FIRST, _WORD.pack(fd))


def _forget(maps: SealMaps, former: set[int]) -> set[int]:
    """Remove the names of former grants under which no socket lives."""
    forgotten = former - grants_in_use(maps)
    for number in forgotten:
        bpf.delete(maps.names, layout.encode_grant_id(number))
    return forgotten
