"""Send requests of 64 KB that the broker refuses only at their end, in a loop.

Each is msgpack of the right form, up to its last socket. The broker decoded all of it, which took a millisecond, and
counted one request. Now refusing costs little, and its time counts.
"""

from __future__ import annotations

import msgpack

from nsbroker.wire import BAD_REQUEST, MAX_PACKET_BYTES, MAX_SOCKETS, ErrorReply

from ..attack import Attack, Orders, Target
from .asking import Stubborn


def refused_at_its_end(namespace: str) -> bytes:
    """Return a packet that is nearly as long as a packet can be, and wrong at its end."""
    spec: dict[str, object] = {"ns": namespace, "family": 2, "type": 1, "bind": ["127.0.0.1", 0], "options": []}

    def packet(options: int) -> bytes:
        sockets = [{**spec, "options": [[1, 2, 1]] * options}] * (MAX_SOCKETS - 1) + [{**spec, "unknown": 1}]
        return bytes(msgpack.packb({"v": 1, "id": 1, "op": "open", "sockets": sockets}))

    return max((packet(options) for options in range(33)), key=lambda one: (len(one) <= MAX_PACKET_BYTES) * len(one))


def attack(target: Target, number: int, orders: Orders) -> None:
    packet = refused_at_its_end(target.namespace)
    orders.is_ready(number)
    with Stubborn(target.path) as client:
        while orders.goes_on():
            reply = client.ask(packet)
            if isinstance(reply, ErrorReply) and reply.code == BAD_REQUEST:
                orders.has_done(number)


GARBAGE = Attack("long requests that are refused", __doc__ or "", attack, 1, "requests of 64 KB")
