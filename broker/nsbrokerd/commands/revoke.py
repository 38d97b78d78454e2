"""`nsbrokerd revoke` revokes live sockets of grants with limits.

A revoked socket sends and receives no packets any more, in whichever process, and TCP connections end at once. The
grant stays. To keep a user from getting new sockets, change the grant first.
"""

from __future__ import annotations

import argparse
import os
import pwd
import socket
from collections.abc import Sequence
from pathlib import Path

from .. import seal
from ..namespaces.finding import cookie_of, find_namespaces
from ..namespaces.netns import HOST, Gate, NamespaceNotFoundError, check_name, open_namespace
from ..seal import LiveSocket, Selection
from ..sockets.sock_diag import end_tcp, open_diag
from .common import CommandError, add_seal, report

_TCP_CLOSE = 7  # include/net/tcp_states.h


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    add_seal(parser)
    parser.add_argument("--grant", help="sockets of this grant")
    parser.add_argument("--user", help="sockets of this user, by name or id")
    parser.add_argument("--namespace", metavar="NS", help="sockets in this namespace, by name, @host or cookie")
    parser.add_argument(
        "--cookie",
        help="this socket, and the sockets that it accepted; several options must all match",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command. Return the exit status."""
    try:
        count, lines = _revoke(arguments.seal, arguments)
    except OSError as error:
        return report(error)
    print("\n".join(lines))
    return 0 if count else 1


def _revoke(directory: Path, arguments: argparse.Namespace) -> tuple[int, list[str]]:
    """Revoke the sockets that match all given arguments. Return their number, and lines to print.

    Raises:
        CommandError: no argument is given, or there is no such user or namespace.
        OSError: the caller is not root, or this kernel can't do it.
    """
    gate = Gate()
    selection = Selection(
        arguments.grant,
        None if arguments.user is None else _uid(arguments.user),
        None if arguments.namespace is None else _netns(gate, arguments.namespace),
        None if arguments.cookie is None else _number(arguments.cookie, 64),
    )
    if selection == Selection():
        raise CommandError("no sockets are selected: give at least one of --grant, --user, --namespace, --cookie")
    # End connections before and after. A revoked socket can't send its peer a reset any more, and a socket that is not
    # revoked yet can connect again.
    ended, _ = _end_connections(gate, seal.live_sockets(directory, selection))
    revoked = seal.revoke(directory, selection)
    ended_after, out_of_reach = _end_connections(gate, revoked)
    lines = [f"{len(revoked)} sockets revoked, {ended + ended_after} TCP sockets ended"]
    if out_of_reach:
        lines.append(
            f"{out_of_reach} TCP sockets are in namespaces that can't be reached: they can't send or receive, "
            "but their connections end only by a timeout"
        )
    return len(revoked), lines


def _uid(user: str) -> int:
    try:
        return _number(user, 32) if user.isdecimal() else pwd.getpwnam(user).pw_uid
    except KeyError as error:
        raise CommandError(f"there is no user {user!r}: give another name, or the id") from error


def _number(text: str, bits: int) -> int:
    if not (text.isdecimal() and int(text) < 2**bits):
        raise CommandError(f"{text} is not a number of {bits} bits: copy it from nsbrokerd sockets")
    return int(text)


def _netns(gate: Gate, namespace: str) -> int:
    """Return the cookie of a namespace. `namespace` is its name, or the cookie itself as text."""
    if namespace == HOST:
        return cookie_of(gate, gate.home_fd)
    try:
        fd = open_namespace(check_name(namespace))
    except NamespaceNotFoundError as error:
        if namespace.isdecimal():
            return _number(namespace, 64)
        advice = "give another name, or the cookie that nsbrokerd sockets shows for a namespace without a name"
        raise CommandError(f"there is no namespace {namespace!r}: {advice}") from error
    try:
        return cookie_of(gate, fd)
    finally:
        os.close(fd)


def _end_connections(gate: Gate, sockets: Sequence[LiveSocket]) -> tuple[int, int]:
    """End TCP connections. Return how many were ended, and how many are in namespaces that can't be reached."""
    cookies: dict[int, set[int]] = {}
    for one in sockets:
        # A closed socket is in no list of the kernel, and has no connection to end.
        if one.protocol == socket.IPPROTO_TCP and one.type == socket.SOCK_STREAM and one.state != _TCP_CLOSE:
            cookies.setdefault(one.netns, set()).add(one.cookie)
    ended = 0
    for netns, _, fd in find_namespaces(gate, list(cookies)):
        diag: socket.socket = gate.call_inside(fd, open_diag)
        with diag:
            ended += end_tcp(diag, cookies.pop(netns))
    return ended, sum(map(len, cookies.values()))
