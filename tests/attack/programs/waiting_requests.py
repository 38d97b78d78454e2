"""Let thousands of requests wait for a namespace that never comes, each with 16 descriptors.

The broker counted waiting requests for each uid, and a user with subordinate uids has many. It looked at all of them
every quarter of a second, and held their descriptors. A connected victim waited eleven seconds. Now the uids of a user
count as one person, all persons that no grant names share half of the places, and a waiting request sleeps until its
namespace is mounted.
"""

from __future__ import annotations

import os
import select
import socket
import time
from contextlib import suppress

from nsbroker import SocketSpec
from nsbroker.wire import OpenRequest
from nsbrokerd.requests.open import MAX_WAITING_FOR_USER
from support.brokers.raw_client import RawClient, tcp
from support.inside import path_of
from support.users import GROUP

from ..attack import SUBORDINATES, Attack, Orders, Target
from .asking import encoded
from .idle_connections import become_unprivileged, connect_as

UIDS = SUBORDINATES[:700]
EACH = 2
LAST_ID = 1 + EACH
DESCRIPTORS = 16
WAIT_S = 60
SETTLED_S = 20
"""After this time, the attack goes on before the broker has seen all requests."""

_LOOK_AGAIN_S = 0.02


def waits(namespace: str, request_id: int) -> bytes:
    """Return a request that names descriptors of the namespace, and a namespace that does not exist."""
    tcp = int(socket.AF_INET), int(socket.SOCK_STREAM)
    specs = [SocketSpec(index, *tcp) for index in range(DESCRIPTORS)]
    return encoded(OpenRequest(request_id, (*specs, SocketSpec(f"{namespace}-never", *tcp)), WAIT_S))


class Waiting:
    """One connection. Its last request gets a reply at once, so the broker has then seen the others as well.

    `is_known` says whether this reply has come, or the connection has ended.
    """

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._requests = EACH
        self.is_known = False

    @property
    def requests(self) -> int:
        """The requests that wait, as far as it is known."""
        return self._requests if self.is_known else 0

    def take_reply(self) -> bool:
        """Take a reply that is there, and return whether the connection goes on."""
        try:
            reply = self._client.receive()
        except (OSError, AssertionError):
            reply = None
        if reply is None or reply.request_id is None:
            self._requests, self.is_known = 0, True
            return False
        if reply.request_id == LAST_ID:
            self.is_known = True
        else:
            self._requests -= 1
        return True

    def close(self) -> None:
        self._client.close()


def attack(target: Target, number: int, orders: Orders) -> None:
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    fds = [os.open(path_of(target.namespace), os.O_RDONLY | os.O_CLOEXEC) for _ in range(DESCRIPTORS)]
    packets = [waits(target.namespace, 1 + index) for index in range(EACH)]
    waiting: dict[int, Waiting] = {}
    poll = select.poll()
    for uid in UIDS:
        with suppress(OSError):  # the broker turns it away
            client = connect_as(uid, target.path)
            waiting[client.sock.fileno()] = Waiting(client)
            poll.register(client.sock, select.POLLIN)
            for packet in packets:
                client.send(packet, fds)
                orders.has_done(number)
            client.send(tcp("no-grant-has-it", request_id=LAST_ID))
    become_unprivileged()
    end = time.monotonic() + SETTLED_S
    while orders.goes_on():
        for fd, _ in poll.poll(0):
            if not waiting[fd].take_reply():
                poll.unregister(fd)
        if all(one.is_known for one in waiting.values()) or time.monotonic() >= end:
            orders.is_ready(number)
        orders.holds(number, sum(one.requests for one in waiting.values()))
        time.sleep(_LOOK_AGAIN_S)
    for one in waiting.values():
        one.close()


WAITING_REQUESTS = Attack(
    "waiting requests of subordinate uids",
    __doc__ or "",
    attack,
    1,
    "requests",
    "requests that wait",
    MAX_WAITING_FOR_USER,
    uid=0,
    are_subordinate=True,
)
WAITING_REQUESTS_OF_MANY = Attack(
    "waiting requests of 700 users", __doc__ or "", attack, 1, "requests", "requests that wait", uid=0
)
