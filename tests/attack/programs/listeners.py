"""Ask for 253 listeners at once, in a loop on one connection.

A request was served as a whole, so every other user waited for 253 sockets. Now the broker cuts a batch between its
sockets when the time of its user is up.
"""

from __future__ import annotations

import socket

from nsbroker import SocketSpec
from nsbroker.wire import MAX_SOCKETS, OpenReply, OpenRequest

from ..attack import Attack, Orders, Target
from .asking import Stubborn, encoded


def batch(namespace: str) -> bytes:
    """Return a request for as many listeners as a request can name."""
    spec = SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, bind=("127.0.0.1", 0), listen=1)
    return encoded(OpenRequest(1, (spec,) * MAX_SOCKETS))


def attack(target: Target, number: int, orders: Orders) -> None:
    packet = batch(target.namespace)
    orders.is_ready(number)
    with Stubborn(target.path) as client:
        while orders.goes_on():
            if isinstance(client.ask(packet), OpenReply):
                orders.has_done(number)


LISTENERS = Attack("batches of listeners", __doc__ or "", attack, 1, "requests of 253 listeners")
