"""Connecting from a namespace to a host and port: an address at once, a name by happy eyeballs.

What names need is loaded for names alone: it takes ten times as long as to connect to an address.
"""

from __future__ import annotations

import socket
from math import inf
from time import monotonic

from ..link.waiting import run
from ..names.numeric import NameGivenError, numeric_address, numeric_host
from ..place.sockets import connect
from ..wire.messages import SocketSpec
from ..wire.record import Record
from .arguments import IPV4, IPV6, host_family
from .command import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..link.waiting import Steps

_STREAM, _DGRAM = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
_NONBLOCK = int(socket.SOCK_NONBLOCK)


class Target(Record):
    """Where to connect to, and how.

    `family` is 0 for any; `source` is an address to connect from; `limit_s` begins when the namespace is there.
    """

    host: str
    port: int
    family: int = 0
    source: str | None = None
    is_udp: bool = False
    limit_s: float = inf


class SourceError(OSError):
    """A socket can't be bound to the source address."""


def dial(command: Command, target: Target) -> socket.socket:
    """Connect; the caller owns the socket, which is non-blocking.

    Raises:
        FailureError: the host's address is not of the family that was asked for.
        SourceError, OSError: as bind(2) and connect(2); a TimeoutError without an errno at the end of `limit_s`.
        ExceptionGroup: of OSErrors: no address of the name could be reached.
        Error: the broker refuses, or can't be reached.
    """
    if is_numeric(target.host):
        return _dial_address(command, target)
    return _dial_name(command, target)


def is_numeric(host: str) -> bool:
    """Tell whether a host is one address, with nothing to look up but an interface."""
    try:
        numeric_host(host.partition("%")[0], IPV6 if ":" in host else IPV4)
    except NameGivenError:
        return False
    return host.lower() != "localhost"  # Which has two addresses.


def _dial_address(command: Command, target: Target) -> socket.socket:
    family = host_family(target.host, target.family or None)
    kind = (_DGRAM if target.is_udp else _STREAM) | _NONBLOCK
    (sock,) = command.client.open([SocketSpec(command.namespace, family, kind)], command.wait_s)
    try:
        if target.source is not None:
            _bind(sock, target.source)
        address = numeric_address(sock, (target.host, target.port))
        run(connect(sock, address, monotonic() + target.limit_s))  # type: ignore[arg-type]  # a tuple stays one
    except BaseException:
        sock.close()
        raise
    return sock


def _bind(sock: socket.socket, source: str) -> None:
    try:
        sock.bind(numeric_address(sock, (source, 0)))
    except OSError as error:
        raise SourceError(error.errno, error.strerror) from error


def _dial_name(command: Command, target: Target) -> socket.socket:
    from ..link.asking import plain_socket
    from ..place.connecting import connect_tcp
    from ..place.datagrams import open_udp
    from ..place.place import Place

    place = Place(command.client.reach, command.namespace, command.wait_s)
    family, local, remote = target.family, None, (target.host, target.port)
    if target.source is not None:
        family, local = family or host_family(target.source, None), (target.source, 0)
    if target.is_udp:
        steps = open_udp(place, plain_socket, local_addr=local, remote_addr=remote, family=family)
    else:
        steps = connect_tcp(place, *remote, local_addr=local, family=family)
    return run(_within(target.limit_s + command.wait_s, steps))


def _within(limit_s: float, steps: Steps[socket.socket]) -> Steps[socket.socket]:
    """Limit steps: a TimeoutError ends them."""
    deadline = monotonic() + limit_s
    try:
        end, sockets = next(steps)
        while True:
            ready = yield min(end, deadline), sockets
            if not ready and monotonic() >= deadline:
                raise TimeoutError
            end, sockets = steps.send(ready)
    except StopIteration as result:
        sock: socket.socket = result.value
        return sock
    finally:
        steps.close()
