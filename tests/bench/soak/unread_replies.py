"""An attack: ask for hundreds of listeners on one connection, read one reply of many, and hang up.

The descriptors of the other replies are in flight then, and the broker may be in the midst of the next request.
"""

from __future__ import annotations

import time
from contextlib import suppress

from attack.attack import Attack, Orders, Target
from attack.programs.listeners import batch
from support.brokers.raw_client import RawClient

_MOST_REQUESTS = 50
_STARES_S = 0.2


def attack(target: Target, number: int, orders: Orders) -> None:
    packet = batch(target.namespace)
    orders.is_ready(number)
    while orders.goes_on():
        with suppress(OSError, AssertionError), RawClient(target.path) as client:
            client.sock.setblocking(False)
            with suppress(BlockingIOError):
                for _ in range(_MOST_REQUESTS):
                    client.send(packet)
                    orders.has_done(number)
            time.sleep(_STARES_S)
            client.sock.setblocking(True)
            client.receive_alone()


UNREAD_REPLIES = Attack("replies that are not read", __doc__ or "", attack, 1, "requests of 253 listeners")
