"""Connect to the broker and close again, in a loop.

No request is sent, so no quota of requests counts it. The broker looked at each connection as if it were a client, and
others waited meanwhile. Now a connection costs the broker little before it is counted.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from ..attack import Attack, Orders, Target

_TIMEOUT_S = 5


def connect(path: str) -> socket.socket:
    """Connect, and wait a while for room in the backlog."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            sock.setsockopt(socket.SOL_SOCKET, limit, struct.pack("ll", _TIMEOUT_S, 0))
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


def attack(target: Target, number: int, orders: Orders) -> None:
    orders.is_ready(number)
    while orders.goes_on():
        with contextlib.suppress(OSError):
            connect(target.path).close()
            orders.has_done(number)


CONNECT_AND_CLOSE = Attack("connect and close", __doc__ or "", attack, 2, "connections")
