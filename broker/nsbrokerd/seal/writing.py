"""Writes to the seal's maps: an entry for each limited socket, and the limits of a policy."""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial

from ..policy import Policy
from . import bpf, layout
from .live import grants_in_use
from .maps import MAX_GRANTS, RULES, SealMaps

_ENTRY_AND_KEY = struct.Struct(f"{layout.ENTRY.format}i")
_ATTRIBUTES = struct.Struct("=IIQQQ")

NewSocket = tuple[socket.SocketType, str, int, int]
"""A socket, the name of its grant, the cookie of its namespace, and its own cookie."""

_grant_id = lru_cache(maxsize=4096)(layout.grant_id)


class Entries:
    """Writes entries of sockets. It reuses its buffers, because the broker does this for each limited socket.

    Use it in one thread only.
    """

    def __init__(self, map_fd: int) -> None:
        """Prepare the buffers for this map. The descriptor stays the caller's."""
        # Entry and key are in one buffer, so that one call packs both.
        self._buffer = ctypes.create_string_buffer(_ENTRY_AND_KEY.size)
        value = ctypes.addressof(self._buffer)
        places = value + layout.ENTRY.size, value
        attributes = _ATTRIBUTES.pack(map_fd, 0, *places, bpf.NO_EXIST)
        self._attributes = ctypes.create_string_buffer(attributes, _ATTRIBUTES.size)
        self._place = ctypes.addressof(self._attributes)

    def put(self, socks: Sequence[NewSocket], since_ns: int, uid: int) -> None:
        """Write the entries of sockets. From then on, the limits of their grants hold.

        Raises:
            OSError: the kernel has no memory for an entry.
        """
        pack_into, buffer, place = _ENTRY_AND_KEY.pack_into, self._buffer, self._place
        for sock, grant, netns, cookie in socks:
            pack_into(buffer, 0, _grant_id(grant), netns, cookie, since_ns, uid, 0, sock.fileno())
            if bpf.SYSTEM_CALL(bpf.MAP_UPDATE, place, _ATTRIBUTES.size) != 0:
                number = ctypes.get_errno()
                raise OSError(number, f"can't limit the socket: {os.strerror(number)}")


@contextlib.contextmanager
def former_limits(maps: SealMaps) -> Iterator[Callable[[], None]]:
    """Keep the limits in force for the length of a with block. The function puts them back, and can raise OSError.

    Raises:
        OSError: the caller is not root.
    """
    try:
        rules_fd = bpf.open_slot(maps.limits)
    except FileNotFoundError:
        yield partial(bpf.empty_slot, maps.limits)  # none were loaded yet
        return
    with bpf.closing(rules_fd):
        yield partial(bpf.fill_slot, maps.limits, rules_fd)


def load_limits(maps: SealMaps, policy: Policy) -> None:
    """Replace all limits at once, also for sockets that were handed out before.

    Raises:
        OSError: the kernel refuses them. The former limits stay.
    """
    limits = {layout.grant_id(grant.name): grant.limit for grant in policy.grants}
    names = {layout.grant_id(grant.name): grant.name for grant in policy.grants if grant.limit is not None}
    known = set(map(layout.decode_grant_id, bpf.keys(maps.names, layout.GRANT_ID_BYTES)))
    if len(known | set(names)) > MAX_GRANTS:
        known -= _forget(maps, known - set(limits))
    for number in set(names) - known:
        bpf.update(maps.names, layout.encode_grant_id(number), layout.encode_name(names[number]))
    # A grant that has lost its limit is written, too: its former sockets are sealed.
    kept = [number for number in limits if number in known or number in names]
    with bpf.closing(bpf.create_map("nsb_rules", RULES, max(1, len(kept)))) as rules_fd:
        for number in kept:
            bpf.update(rules_fd, layout.encode_grant_id(number), layout.encode_limit(limits[number]))
        bpf.fill_slot(maps.limits, rules_fd)


def _forget(maps: SealMaps, former: set[int]) -> set[int]:
    """Remove the names of former grants that have no live socket. Return their ids.

    Raises:
        OSError: this kernel can't list sockets.
    """
    forgotten = former - grants_in_use(maps)
    for number in forgotten:
        bpf.delete(maps.names, layout.encode_grant_id(number))
    return forgotten
