"""Sockets and associations as the seal lists them, for tests that need no kernel."""

from __future__ import annotations

from nsbrokerd.seal.maps import SealMaps
from nsbrokerd.seal.programs.associations import Association
from nsbrokerd.seal.programs.iterator import LiveSocket

MAPS = SealMaps(-1, -1, -1, {})


PACKETS = {"socket_sendmsg", "socket_recvmsg"}
UDPLITE, SCTP, ONE_TO_ONE = (10, 2, 136), (2, 5, 132), (10, 1, 132)


def live(*triple: int, flags: int = 0, cookie: int = 1) -> LiveSocket:
    family, kind, protocol = triple
    head = cookie, 1, 1, 1, 1, 1, flags, family, 0, kind, protocol, 0
    return LiveSocket(*head, b"\0\0", bytes(4), bytes(4), b"", b"")


def association(tag: int, state: int = 3) -> Association:
    return Association(1, tag, state, 5000, 0, bytes(28), bytes(28))
