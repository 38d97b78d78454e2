"""`nsbrokerd revoke`: takes sockets back that were handed out under grants with limits.

From then on nothing goes in or out of them, whoever holds them; TCP connections end at once. The grant itself stays:
who shall get no new sockets must lose it first.
"""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Sequence
from pathlib import Path

from .. import seal
from ..namespaces.finding import cookie_of, find_namespaces
from ..namespaces.netns import HOST, Gate, NamespaceNotFoundError, check_name, open_namespace
from ..seal import LiveSocket, Selection
from ..sockets.diag import end_tcp, open_diag

_TCP_CLOSE = 7  # include/net/tcp_states.h


class RevokeError(ValueError):
    """What was asked for names nothing."""


def revoke(
    directory: Path, *, grant: str | None, user: str | None, namespace: str | None, cookie: str | None
) -> tuple[int, list[str]]:
    """Take back all sockets that match everything that is given; gives how many there were, and lines to read.

    Raises:
        RevokeError: nothing is given, or there is no such user or namespace.
        OSError: not root, or this kernel can't.
    """
    if (grant, user, namespace, cookie) == (None, None, None, None):
        raise RevokeError("name at least one of --grant, --user, --namespace, --cookie")
    gate = Gate()
    selection = Selection(
        grant,
        None if user is None else _uid(user),
        None if namespace is None else _netns(gate, namespace),
        None if cookie is None else _number(cookie, 64),
    )
    # Connections end before and after: a revoked socket can't send the reset by which its peer learns of it, and one
    # that is not revoked yet can connect anew.
    ended, _ = _end_connections(gate, seal.live_sockets(directory, selection))
    taken = seal.revoke(directory, selection)
    ended_after, out_of_reach = _end_connections(gate, taken)
    lines = [f"{len(taken)} sockets revoked, {ended + ended_after} TCP sockets ended"]
    if out_of_reach:
        lines.append(f"{out_of_reach} TCP sockets are in namespaces that can't be reached: they are cut, and time out")
    return len(taken), lines


def _uid(user: str) -> int:
    try:
        return _number(user, 32) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise RevokeError(f"there is no user {user!r}") from error


def _number(text: str, bits: int) -> int:
    if not (text.isdecimal() and int(text) < 2**bits):
        raise RevokeError(f"{text} is no number of {bits} bits")
    return int(text)


def _netns(gate: Gate, namespace: str) -> int:
    if namespace == HOST:
        return cookie_of(gate, gate.home_fd)
    try:
        fd = open_namespace(check_name(namespace))
    except NamespaceNotFoundError as error:
        if namespace.isdecimal():  # as `grants` shows one whose name is gone
            return _number(namespace, 64)
        raise RevokeError(f"there is no namespace {namespace!r}; of one without a name give its cookie") from error
    try:
        return cookie_of(gate, fd)
    finally:
        os.close(fd)


def _end_connections(gate: Gate, sockets: Sequence[LiveSocket]) -> tuple[int, int]:
    """End those of TCP where their namespaces can be reached; gives how many were, and how many could not be."""
    cookies: dict[int, set[int]] = {}
    for one in sockets:
        # A closed one is in no list of the kernel's: there is nothing to end.
        if one.protocol == socket.IPPROTO_TCP and one.type == socket.SOCK_STREAM and one.state != _TCP_CLOSE:
            cookies.setdefault(one.netns, set()).add(one.cookie)
    ended = 0
    for netns, _, fd in find_namespaces(gate, list(cookies)):
        diag: socket.socket = gate.call_inside(fd, open_diag)
        with diag:
            ended += end_tcp(diag, cookies.pop(netns))
    return ended, sum(map(len, cookies.values()))
