"""Two namespaces joined by a cable, and a look at the packets at its far end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from support import namespaces
from support.inside import enter, path_of
from support.namespaces import ip

NEAR_4, NEAR_6 = "10.9.0.1", "fd09::1"
ALLOWED_4, ALLOWED_6 = "10.9.0.2", "fd09::2"
FORBIDDEN_4, FORBIDDEN_6 = "10.9.0.3", "fd09::3"
_MARKER_PORT = 7
_ETH_P_ALL, _ETH_P_IP, _ETH_P_IPV6 = 3, 0x800, 0x86DD
_OUTGOING = 4
_SO_RCVBUFFORCE = 33


def socket_inside(name: str, *kind: int) -> socket.socket:
    """A socket of root's in a namespace. A thread makes it, and ends."""
    made: list[socket.socket] = []

    def make() -> None:
        enter(path_of(name))
        made.append(socket.socket(*kind))

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class FarSide:
    """Every packet at the far end of the cable, in the order in which the near end sent them."""

    def __init__(self, near: str, far: str) -> None:
        self.near = near
        self.far = far
        self._tap = socket_inside(far, socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
        self._tap.bind((namespaces.PREFIX[4:-1] + "f", _ETH_P_ALL))
        self._tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 1 << 26)  # so that the test misses no packet
        self._tap.settimeout(30)
        self._marker = socket_inside(near, socket.AF_INET, socket.SOCK_DGRAM)
        self._markers = 0

    def destinations(self) -> list[str]:
        """Where all packets were sent that arrived since the last call: a marker is sent after them, and awaited."""
        self._markers += 1
        marker = f"marker {self._markers}".encode()
        self._marker.sendto(marker, (ALLOWED_4, _MARKER_PORT))
        found = []
        while True:
            packet, address = self._tap.recvfrom(65536)
            if packet.endswith(marker):
                return found
            if address[2] != _OUTGOING and address[1] == _ETH_P_IP:
                found.append(socket.inet_ntop(socket.AF_INET, packet[16:20]))
            elif address[2] != _OUTGOING and address[1] == _ETH_P_IPV6:
                found.append(socket.inet_ntop(socket.AF_INET6, packet[24:40]))

    def close(self) -> None:
        self._tap.close()
        self._marker.close()


@contextmanager
def far_side() -> Iterator[FarSide]:
    """Lay the cable. The neighbours are known, so that no packet waits for them."""
    near, far = f"{namespaces.PREFIX}near", f"{namespaces.PREFIX}far"
    links = namespaces.PREFIX[4:-1] + "n", namespaces.PREFIX[4:-1] + "f"
    try:
        namespaces.make(near)
        namespaces.make(far)
        addresses = [("02:00:00:00:00:01", [NEAR_4, NEAR_6])]
        addresses.append(("02:00:00:00:00:02", [ALLOWED_4, ALLOWED_6, FORBIDDEN_4, FORBIDDEN_6]))
        ip("-n", near, "link", "add", links[0], "address", addresses[0][0], "type", "veth", "peer", "name", links[1],
           "address", addresses[1][0], "netns", far)  # fmt: skip
        for index, name in enumerate((near, far)):
            ip("-n", name, "link", "set", links[index], "up")
            for address in addresses[index][1]:
                ip("-n", name, "address", "add", _with_prefix(address), "dev", links[index], *_no_dad(address))
            for address in addresses[1 - index][1]:
                ip("-n", name, "neighbor", "add", address, "lladdr", addresses[1 - index][0], "dev", links[index])
        wire = FarSide(near, far)
        try:
            yield wire
        finally:
            wire.close()
    finally:
        for name in (near, far):
            if os.path.exists(path_of(name)):
                namespaces.delete(name)


def _with_prefix(address: str) -> str:
    return f"{address}/64" if ":" in address else f"{address}/24"


def _no_dad(address: str) -> list[str]:
    return ["nodad"] if ":" in address else []


class Way(NamedTuple):
    """A family of sockets, and addresses as its user writes them."""

    family: int
    near: str
    allowed: str
    forbidden: str


WAYS = {
    "IPv4": Way(socket.AF_INET, NEAR_4, ALLOWED_4, FORBIDDEN_4),
    "IPv6": Way(socket.AF_INET6, NEAR_6, ALLOWED_6, FORBIDDEN_6),
    "v4-mapped": Way(socket.AF_INET6, f"::ffff:{NEAR_4}", f"::ffff:{ALLOWED_4}", f"::ffff:{FORBIDDEN_4}"),
}
