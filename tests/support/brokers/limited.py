"""Sockets of grants with limits, and the kernel's answers to their calls."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from nsbroker import SocketSpec
from nsbroker.wire import Address, OpenReply, OpenRequest
from support.brokers.commands import run_command
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as
from support.far_side import socket_inside
from support.namespaces import PREFIX
from support.users import USER

LOOPBACK = "127.0.0.1"

_libc = ctypes.CDLL(None, use_errno=True)


def grant(
    name: str = "limited",
    *,
    connect: Sequence[str] | None = None,
    bind: Sequence[str] | None = None,
    sockets: Sequence[str] = ("tcp", "udp"),
) -> str:
    """Return a grant for every user in the test's namespaces, as TOML, with limits if any are given."""
    limits = {key: rules for key, rules in (("connect", connect), ("bind", bind)) if rules is not None}
    entries = ", ".join(f"{key} = {json.dumps(rules)}" for key, rules in limits.items())
    limit = f"limit = {{ {entries} }}\n" if limits else ""
    return (
        f'[[grant]]\nname = "{name}"\nusers = ["*"]\nnamespaces = ["{PREFIX}*"]\n'
        f"sockets = {json.dumps(sockets)}\n{limit}\n"
    )


def open_limited(
    broker: BrokerProcess,
    namespace: str,
    kind: int = socket.SOCK_DGRAM,
    family: int = socket.AF_INET,
    *,
    protocol: int = 0,
    uid: int = USER,
    bind: Address | None = None,
    listen: int | None = None,
) -> socket.socket:
    """Open a socket as this user, and return it. The caller owns it."""
    spec = SocketSpec(namespace, int(family), int(kind), protocol, bind=bind, listen=listen)
    with connect_as(uid, broker) as client:
        reply = client.ask(OpenRequest(1, (spec,)))
        assert isinstance(reply, OpenReply), reply
        return _never_waiting_long(socket.socket(fileno=client.fds.pop()))


def _never_waiting_long(sock: socket.socket) -> socket.socket:
    """Let calls that would wait forever fail with EAGAIN, also on connections that the socket accepts."""
    for name in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        sock.setsockopt(socket.SOL_SOCKET, name, struct.pack("ll", 20, 0))
    return sock


def error_of(function: Callable[..., object], *args: object) -> str | None:
    """Return the name of the errno that the call fails with, or None."""
    try:
        function(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return None


def can_send(sock: socket.socket, port: int, host: str = LOOPBACK) -> bool:
    """Return whether the seal lets a datagram pass."""
    error = error_of(sock.sendto, b"x", (host, port))
    assert error in (None, "EPERM"), error
    return error is None


def can_connect(sock: socket.socket, port: int, host: str = LOOPBACK) -> bool:
    """Return whether the seal lets a TCP socket connect to this closed port."""
    error = error_of(sock.connect, (host, port))
    assert error in ("ECONNREFUSED", "EPERM"), error
    return error != "EPERM"


def disconnect(sock: socket.socket) -> None:
    """Undo the connection, so that the socket can be connected anew.

    Raises:
        OSError: as connect(2).
    """
    unspecified = struct.pack("=H14x", socket.AF_UNSPEC)
    if _libc.connect(sock.fileno(), unspecified, len(unspecified)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def plain_socket(namespace: str, kind: int, port: int) -> socket.socket:
    """Return an unlimited socket of the namespace, bound to the port of the loopback. A TCP socket listens."""
    sock = _never_waiting_long(socket_inside(namespace, int(socket.AF_INET), int(kind)))
    sock.bind((LOOPBACK, port))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


def command(broker: BrokerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `nsbrokerd VERB ...` on the pins of this broker, which need not run."""
    return run_command(broker, *arguments)


def listed(broker: BrokerProcess) -> list[dict[str, Any]]:
    """Return the rows that `nsbrokerd sockets --json` prints."""
    done = command(broker, "sockets", "--json")
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows
