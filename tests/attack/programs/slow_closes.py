"""Send packet sockets of an own network namespace to the broker, and hang up.

Any user can make packet sockets in a user namespace of its own, and needs no grant to connect. The broker never reads
the packet, so its descriptors are closed with the connection. This waits for the kernel, each time. When too many such
connections could not be closed at once, the broker stopped accepting, and all other users waited for up to two seconds.
Now it turns away the user whose connections are not closed yet, and goes on with all others.
"""

from __future__ import annotations

import contextlib
import socket

from nsbroker.link.fdpass import lend_packet
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.users import ChildError, as_unprivileged

from ..attack import Attack, Orders, Target
from .connect_and_close import connect

ETH_P_ALL = 3


def packet_socket() -> socket.socket:
    return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))


def enter_own_namespaces() -> None:
    """Become root of a user namespace of its own, with a network namespace."""
    move_into_new(CLONE_NEWUSER | CLONE_NEWNET)


def attack(target: Target, number: int, orders: Orders) -> None:
    enter_own_namespaces()
    orders.is_ready(number)
    while orders.goes_on():
        with contextlib.suppress(OSError), connect(target.path) as connection, packet_socket() as sock:
            lend_packet(connection, b"never read", [sock.fileno()])
            orders.has_done(number)


def _try() -> None:
    enter_own_namespaces()
    packet_socket().close()


def why_not() -> str | None:
    try:
        as_unprivileged(_try)
    except (OSError, ChildError) as error:
        return f"this kernel gives users no user namespace with a network namespace: {error}"
    return None


SLOW_CLOSES = Attack("slow closes", __doc__ or "", attack, 3, "connections with a packet socket", why_not=why_not)
