"""Ask for a packet socket and a second socket that fails.

The broker must then close the packet socket that it has made. The kernel waits about ten milliseconds in this close,
until no processor uses the socket. The broker's only thread waited with it. Now another thread of the same user waits.
"""

from __future__ import annotations

import socket

from nsbroker import SocketSpec
from nsbroker.wire import ErrorReply, OpenRequest

from ..attack import Attack, Orders, Target
from .asking import Stubborn, encoded


def fails_late(namespace: str) -> bytes:
    """Return a request that fails after its packet socket was made. The address of the second belongs to nobody."""
    packet = SocketSpec(namespace, socket.AF_PACKET, socket.SOCK_RAW)
    tcp = SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, bind=("192.0.2.1", 8080))
    return encoded(OpenRequest(1, (packet, tcp)))


def attack(target: Target, number: int, orders: Orders) -> None:
    packet = fails_late(target.namespace)
    orders.is_ready(number)
    with Stubborn(target.path) as client:
        while orders.goes_on():
            reply = client.ask(packet)
            if isinstance(reply, ErrorReply) and reply.spec_index == 1:
                orders.has_done(number)


FAILING_PACKET_SOCKETS = Attack("packet sockets that fail", __doc__ or "", attack, 1, "failed requests")
