"""Aborts the associations by which stopped SCTP sockets could still communicate.

Linux has no call for this, so the broker plays the peer: it sends each association the packet ABORT by which a peer
ends it. The packet goes from the namespace to the namespace itself, and nothing answers it. Then the kernel drops what
the socket has queued, and the socket's owner gets an error.

The broker reaches the host's namespace, and those with a name. `nsbrokerd revoke` also reaches those of all processes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from ..namespaces.finding import find_namespaces
from ..namespaces.netns import Gate, NamespaceNotFoundError
from .background import Background
from .live import list_associations
from .maps import SealMaps
from .needed import stopped_parents
from .programs.associations import Association

_SCTP = int(socket.IPPROTO_SCTP)
_DISCARD_PORT = 9
"""Any port: nothing is sent to it."""
_SO_BINDTOIFINDEX = 62

_LIMIT_S = 5.0
"""Associations that are left then wait for the next run. If a socket has many, each round aborts a part of them."""
_MAX_IDLE_ROUNDS, _PAUSE_S = 5, 0.02
"""Rounds without progress, and the pause after each of them. A packet can wait for a lock. If the whole process visits
the sealed group just now (`SealedVisits`), the first wall refuses it."""

_ABORT = struct.pack("!BBH", 6, 0, 4)
"""The chunk, without a cause. Source: RFC 9260, section 3.3.7."""
_IPV4_BYTES, _PLAIN_IPV4 = 20, 0x45
_VERSION_6 = 6 << 28
_HOPS = 1


class Aborter:
    """Aborts associations in a thread of its own, because finding a namespace can take long."""

    def __init__(self, maps: SealMaps) -> None:
        """Use these maps, which stay the caller's."""
        self._maps = maps
        self._background = Background("abort", self._run)
        self._stops = threading.Event()
        # By the cookie of a stopped parent, when the run began that first left it without an association.
        self._ended: dict[int, float] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Start to abort associations, unless the thread is still at work."""
        self._background.start()

    def wait(self) -> None:
        """Wait until the thread has ended."""
        self._background.wait()

    def close(self) -> None:
        """End the thread. It ends before it aborts in the next namespace."""
        self._stops.set()
        self.wait()

    def ended_before(self, time_s: float) -> frozenset[int]:
        """Return the cookies of stopped parents that have had no association since this time of the monotonic clock."""
        return frozenset(cookie for cookie, since_s in self._ended.items() if since_s <= time_s)

    def forget_others(self, stopped: AbstractSet[int]) -> None:
        """Forget the parents that are not stopped any more, also those that the thread has just found."""
        with self._lock:
            self._ended = {cookie: since_s for cookie, since_s in self._ended.items() if cookie in stopped}

    def _run(self) -> None:
        before, ended = self._ended, dict[int, float]()
        try:
            with contextlib.suppress(OSError):  # then the next start tries again
                stopped = stopped_parents(self._maps)
                now_s = time.monotonic()
                if abort_associations(self._maps, self._stops.is_set):
                    ended = {cookie: before.get(cookie, now_s) for cookie in stopped}
        finally:
            with self._lock:
                # If limits have changed meanwhile, a parent may not be stopped any more: then begin anew.
                self._ended = ended if self._ended is before else {}


def abort_associations(maps: SealMaps, stops: Callable[[], bool] = lambda: False) -> bool:
    """Abort the associations of stopped sockets that the first wall does not see. Return whether none is left.

    Args:
        maps: the seal's maps.
        stops: asked before each step whether to stop early.

    Raises:
        OSError: the caller is not root, or this kernel can't list them.
    """
    before: set[tuple[int, int]] = set()
    idle_rounds = 0
    end_s = time.monotonic() + _LIMIT_S
    gate = Gate()
    try:
        while True:
            left = list_associations(maps)
            open_ones = {(one.netns, one.tag) for one in left if one.tag}
            idle_rounds = idle_rounds + 1 if before <= open_ones else 0
            if not left or idle_rounds > _MAX_IDLE_ROUNDS or time.monotonic() > end_s or stops():
                return not left
            if idle_rounds > 1:
                time.sleep(_PAUSE_S)
            _abort_all(gate, (one for one in left if one.tag), stops)
            before = open_ones
    finally:
        os.close(gate.home_fd)


def _abort_all(gate: Gate, associations: Iterable[Association], stops: Callable[[], bool]) -> None:
    wanted: dict[int, list[Association]] = {}
    for one in associations:
        wanted.setdefault(one.netns, []).append(one)
    for netns, _, fd in find_namespaces(gate, list(wanted)):
        if stops():
            return
        with contextlib.suppress(NamespaceNotFoundError, OSError):
            gate.call_inside(fd, partial(_abort_inside, wanted[netns]))


def _abort_inside(associations: Iterable[Association]) -> None:
    """Abort associations of the namespace that the thread is in. An association that no packet reaches stays."""
    for one in associations:
        with contextlib.suppress(OSError):
            _abort(one)


def _abort(one: Association) -> None:
    """Send an ABORT. Send nothing if the namespace has lost the association's own address: the packet would leave it.

    Raises:
        OSError: it can't be sent.
    """
    ends = _Ends.of(one)
    with socket.socket(ends.family, socket.SOCK_DGRAM) as probe:
        _bind_to_device(probe, one)
        probe.connect(ends.address(_DISCARD_PORT))
        # The kernel takes a local destination as the source, too.
        host = probe.getsockname()[0].partition("%")[0]
        if socket.inet_pton(ends.family, host) != ends.own.packed:
            return
    with socket.socket(ends.family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        _bind_to_device(raw, one)
        raw.sendto(abort_packet(one), ends.address(0))


def _bind_to_device(sock: socket.socket, one: Association) -> None:
    """Bind a socket to the device that the association's socket is bound to: SCTP takes packets from no other one."""
    if one.device:
        sock.setsockopt(socket.SOL_SOCKET, _SO_BINDTOIFINDEX, one.device)


class _Ends(NamedTuple):
    """The two addresses of an association, and the index of the device if its own address is link-local."""

    own: IPv4Address | IPv6Address
    peer: IPv4Address | IPv6Address
    scope: int

    @classmethod
    def of(cls, one: Association) -> _Ends:
        family, peer_family = (struct.unpack_from("=H", address)[0] for address in (one.own, one.peer))
        if family == peer_family == socket.AF_INET:
            return cls(IPv4Address(one.own[4:8]), IPv4Address(one.peer[4:8]), 0)
        own, peer = IPv6Address(one.own[8:24]), IPv6Address(one.peer[8:24])
        return cls(own, peer, struct.unpack_from("=I", one.peer, 24)[0] if own.is_link_local else 0)

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.own.version == 4 else socket.AF_INET6

    def address(self, port: int) -> tuple[str, int] | tuple[str, int, int, int]:
        """Return the own address in the form that `socket` uses."""
        return (str(self.own), port) if self.own.version == 4 else (str(self.own), port, 0, self.scope)


def abort_packet(one: Association) -> bytes:
    """Return the IP packet that ends an association. Its source is the peer."""
    ends = _Ends.of(one)
    head = one.peer[2:4] + struct.pack("!HI", one.port, one.tag)
    payload = head + struct.pack("<I", _crc32c(head + bytes(4) + _ABORT)) + _ABORT
    addresses = ends.peer.packed + ends.own.packed
    if ends.own.version == 4:
        # The kernel fills in the checksum.
        length = _IPV4_BYTES + len(payload)
        return struct.pack("!BBHHHBBH", _PLAIN_IPV4, 0, length, 0, 0, _HOPS, _SCTP, 0) + addresses + payload
    return struct.pack("!IHBB", _VERSION_6, len(payload), _SCTP, _HOPS) + addresses + payload


def _crc32c(data: bytes) -> int:
    """Return the checksum of SCTP. Source: RFC 9260, appendix A."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
