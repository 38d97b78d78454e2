"""Which hooks of the second wall are needed: by the limits in force, and by the sockets in use."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from ..policy.kinds import KIND_OF_TRIPLE, Triple, is_inet
from .layout import CHOSEN, CLONED, PARENT, STOPPED
from .live import all_live, list_associations
from .maps import SealMaps
from .programs.associations import Association
from .programs.iterator import LiveSocket

_SEQPACKET, _SCTP = int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)
_LISTEN = 10
"""The state of a socket. Source: include/net/tcp_states.h."""

FOR_EACH_PACKET = frozenset({"socket_sendmsg", "socket_recvmsg"})
"""Hooks that cost all sockets of the host time. They stand only while a stopped socket of SCTP may communicate."""

MAKES_SOCKETS = "sctp_sk_clone"
"""The hook that stands while limited sockets of SCTP are in use, or the policy limits SCTP."""

_CONNECTIONS = {"socket_connect", "socket_bind", "socket_listen", "socket_accept"}
_ASSOCIATIONS = {
    *("sctp_bind_connect", "sctp_assoc_request", "sctp_assoc_established", MAKES_SOCKETS),
    "socket_getsockopt",
}
_ALL = {"socket_setsockopt", "uring_cmd"}
_NEEDED = {
    "tcp": _ALL | _CONNECTIONS,
    "mptcp": _ALL | _CONNECTIONS,
    "sctp": _ALL | _CONNECTIONS | _ASSOCIATIONS | FOR_EACH_PACKET,
}
"""The hooks for a kind. Others need only those of `_ALL`: the first wall sees their packets."""


def hooks_for(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that limited sockets of these kinds need."""
    return set().union(*(_NEEDED.get(kind, _ALL) for kind in kinds))


def hooks_of_policy(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that must stand if a policy limits these kinds, before any socket is in use."""
    return hooks_for(kinds) - FOR_EACH_PACKET


def escapes_first_wall(one: LiveSocket) -> bool:
    """Return whether the first wall alone can't stop a socket in use: SCTP made it, or can still make another of it.

    A call of `accept` or `peeloff` can go on after its socket was stopped. A socket of an unknown kind counts as one of
    SCTP.
    """
    if KIND_OF_TRIPLE.get(triple_of(one), "sctp") != "sctp":
        return False
    # An older broker's listener lacks the flag.
    is_listener = one.type != _SEQPACKET and one.state == _LISTEN
    return is_listener or bool(one.flags & (CLONED | PARENT))


def is_udplite(triple: Triple) -> bool:
    """Return whether this is the kind udplite."""
    return KIND_OF_TRIPLE.get(triple) == "udplite"


def kinds_in_use(sockets: Iterable[LiveSocket]) -> set[str]:
    """Return the kinds of sockets. Count an unknown socket as one of each kind."""
    kinds: set[str] = set()
    for one in sockets:
        kind = KIND_OF_TRIPLE.get(triple_of(one))
        kinds |= {kind} if kind is not None else set(filter(is_inet, KIND_OF_TRIPLE.values()))
    return kinds


def needed_hooks(maps: SealMaps, kinds: Iterable[str], ended: AbstractSet[int] = frozenset()) -> set[str]:
    """Return the hooks that a policy which limits these kinds needs, and the limited sockets in use.

    Args:
        maps: the seal's maps.
        kinds: of the policy.
        ended: cookies of the stopped parents that have had no association for so long that calls have ended which were
            checked before the stop. Such a parent needs the hooks for each packet only if it has an association again.
    """
    try:
        sockets = all_live(maps)
        return hooks_of_policy({*kinds, *kinds_in_use(sockets)}) | needed_for_packets(maps, sockets, ended)
    except OSError:
        return hooks_for(KIND_OF_TRIPLE.values())  # this kernel can't list sockets: they may be of any kind


def hooks_for_change(maps: SealMaps, kinds: Iterable[str], standing: AbstractSet[str]) -> set[str]:
    """Return the hooks that must stand while limits change to a policy which limits these kinds.

    The change can cut off any socket in use, so this includes all hooks for their kinds.

    Args:
        maps: the seal's maps.
        kinds: of the new policy.
        standing: the hooks that stand before the change.
    """
    try:
        in_use = kinds_in_use(all_live(maps))
    except OSError:
        return hooks_for(KIND_OF_TRIPLE.values())
    if MAKES_SOCKETS in standing:
        in_use.add("sctp")  # the list misses a socket that SCTP makes meanwhile, just before its listener ends
    return hooks_of_policy(kinds) | hooks_for(in_use)


def triple_of(one: LiveSocket) -> Triple:
    """Return the socket's triple."""
    return one.family, one.type, one.protocol


def stopped_parents(maps: SealMaps) -> set[int]:
    """Return the cookies of the stopped sockets of which SCTP can still make others, in calls that go on.

    Leave out those that also began associations: a call can still begin one, which no list shows until then.

    Raises:
        OSError: this kernel can't list sockets.
    """
    stopped = _stopped_past_first_wall(sctp_sockets(maps))
    return _parents(one for one in stopped if not one.flags & CHOSEN)


def sctp_sockets(maps: SealMaps) -> list[LiveSocket]:
    """List the sockets of SCTP. Only these can need hooks for each packet.

    Raises:
        OSError: this kernel can't list sockets.
    """
    return all_live(maps, _SCTP)


def _stopped_past_first_wall(sockets: Iterable[LiveSocket]) -> list[LiveSocket]:
    return [one for one in sockets if one.flags & STOPPED and escapes_first_wall(one)]


def _parents(sockets: Iterable[LiveSocket]) -> set[int]:
    return {one.cookie for one in sockets if not one.flags & CLONED}


def needed_for_packets(maps: SealMaps, sockets: Iterable[LiveSocket], ended: AbstractSet[int]) -> frozenset[str]:
    """Return the hooks for each packet if these sockets need them. See `needed_hooks`."""
    stopped = _stopped_past_first_wall(sockets)
    return FOR_EACH_PACKET if _parents(stopped) - ended or (stopped and list_associations(maps)) else frozenset()


def open_associations(maps: SealMaps) -> set[Association]:
    """List the associations that stopped sockets still have, without the marks of locked sockets.

    Raises:
        OSError: this kernel can't list them.
    """
    return {one for one in list_associations(maps) if not one.is_locked}
