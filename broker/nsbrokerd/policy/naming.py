"""The users and groups that a policy names. Their persons always find room in the broker. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .grant import Grant


class Naming(NamedTuple):
    """The uids and gids in the grants of a policy.

    A grant for everyone ("*") names no user, and neither does a grant for the group of the broker's socket: all users
    that can connect have this group.
    """

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


def naming(grants: Iterable[Grant], socket_gid: int) -> Naming:
    """Return the users and groups that these grants name. Root is always among them."""
    users: set[int] = {0}
    groups: set[int] = set()
    for grant in grants:
        users |= grant.users or set()
        groups |= grant.groups
    return Naming(frozenset(users), frozenset(groups - {socket_gid}))
