"""Take the connections of all users, with the uids that /etc/subuid delegates to one user.

A user with subordinate uids can act as each of them (newuidmap(1)), and the quota of connections was counted for each
uid. Four uids held all 4,096 connections of the broker, which refused all other users from then on. Now the uids of a
user count as one person. Where the broker can't know that uids belong together, all users that no grant names share
half of the connections.
"""

from __future__ import annotations

import contextlib
import os
import time

from nsbrokerd.clients.quotas import Quotas
from support.brokers.raw_client import RawClient, tcp
from support.users import GROUP

from ..attack import SUBORDINATES, Attack, Orders, Target

UIDS = SUBORDINATES[:4]
EACH = Quotas().clients_per_user
_RETRY_S = 0.05


def connect_as(uid: int, path: str) -> RawClient:
    """Connect as this user, as a process with CAP_SETUID in its own user namespace can for each of its uids."""
    os.seteuid(uid)
    try:
        return RawClient(path)
    finally:
        os.seteuid(0)


def become_unprivileged() -> None:
    """Become the first of the users for good."""
    os.setresuid(UIDS[0], UIDS[0], UIDS[0])


def admitted(clients: list[RawClient]) -> list[RawClient]:
    """Return the connections that the broker serves, and close the others.

    The broker turns a connection away by a reply without the id of a request. The requests cost little, because they
    ask for a namespace without a grant.
    """
    for client in clients:
        with contextlib.suppress(OSError):
            client.send(tcp("no-grant-has-it"))
    served = []
    for client in clients:
        if _is_served(client):
            served.append(client)
        else:
            client.close()
    return served


def _is_served(client: RawClient) -> bool:
    try:
        reply = client.receive()
    except OSError:
        return False
    return reply is not None and reply.request_id is not None


def attack(target: Target, number: int, orders: Orders) -> None:
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    held: list[RawClient] = []
    for uid in UIDS:
        held += admitted([connect_as(uid, target.path) for _ in range(EACH)])
        orders.holds(number, len(held))
        orders.has_done(number)
    become_unprivileged()
    orders.is_ready(number)
    while orders.goes_on():  # takes each connection that becomes free
        with contextlib.suppress(OSError):
            held += admitted([RawClient(target.path)])
        orders.holds(number, len(held))
        time.sleep(_RETRY_S)
    for client in held:
        client.close()


IDLE_CONNECTIONS = Attack(
    "connections of subordinate uids",
    __doc__ or "",
    attack,
    1,
    f"uids with {EACH:,} connections",
    "connections",
    Quotas().clients_per_user,
    uid=0,
    are_subordinate=True,
)
IDLE_CONNECTIONS_OF_MANY = Attack(
    "connections of four users",
    __doc__ or "",
    attack,
    1,
    f"uids with {EACH:,} connections",
    "connections",
    Quotas().clients // 2,
    uid=0,
)
