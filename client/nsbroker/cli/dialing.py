"""Connecting from a namespace to a host and port: an address at once, a name by happy eyeballs.

The code for names is loaded only for a name, since it takes ten times as long as to connect to an address.
"""

from __future__ import annotations

import socket
from math import inf
from time import monotonic

from ..drivers.thread import run
from ..link.waiting import connect, wait
from ..names.numeric import NameGivenError, numeric_address, numeric_host
from ..place.options import NO_OPTIONS, AtBirth
from ..wire.messages import SocketSpec
from ..wire.record import Record
from .arguments import IPV4, IPV6, host_family
from .command import Command
from .patience import teller

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..link.waiting import Waiting

_STREAM, _DGRAM = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM)
_NONBLOCK = int(socket.SOCK_NONBLOCK)


class Target(Record):
    """The target of a connection.

    Attributes:
        host: a name or an address.
        port: the port.
        family: AF_INET or AF_INET6 if the user selected one, else 0.
        source: the address to connect from, if any.
        is_udp: UDP, not TCP.
        limit_s: seconds for connecting, from the moment when the namespace exists.
        at_birth: the options of the sockets.
    """

    host: str
    port: int
    family: int = 0
    source: str | None = None
    is_udp: bool = False
    limit_s: float = inf
    at_birth: AtBirth = NO_OPTIONS


class SourceError(OSError):
    """A socket can't be bound to the source address."""


def dial(command: Command, target: Target) -> socket.socket:
    """Connect, and return a non-blocking socket that the caller owns.

    Raises:
        FailureError: the host's address is not of the family that the user selected.
        SourceError: as bind(2).
        OSError: as connect(2). At the end of `limit_s`, a TimeoutError without an errno.
        ExceptionGroup: the OSErrors of all addresses of the name.
        Error: the broker refuses, or can't be reached.
    """
    if is_numeric(target.host):
        return _dial_address(command, target)
    return _dial_name(command, target)


def is_numeric(host: str) -> bool:
    """Return whether a host is one address. Then at most an interface is looked up, and no name."""
    try:
        numeric_host(host.partition("%")[0], IPV6 if ":" in host else IPV4)
    except NameGivenError:
        return False
    return True


def _dial_address(command: Command, target: Target) -> socket.socket:
    family = host_family(target.host, target.family or None)
    socket_type = (_DGRAM if target.is_udp else _STREAM) | _NONBLOCK
    spec = SocketSpec(command.namespace, family, socket_type, options=target.at_birth.of(family))
    (sock,) = command.client.open([spec], command.wait_s)
    try:
        if target.source is not None:
            _bind(sock, target.source)
        address = numeric_address(sock, (target.host, target.port))
        connecting = connect(sock, address, monotonic() + target.limit_s)  # type: ignore[arg-type]  # a tuple stays one
        run(connecting, _teller(command, target))
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
    from ..link.broker import plain_socket
    from ..place.connecting import connect_tcp
    from ..place.datagrams import open_udp
    from ..place.place import Place

    place = Place(command.client.broker, command.namespace, command.wait_s, target.at_birth)
    family, local, remote = target.family, None, (target.host, target.port)
    if target.source is not None:
        family, local = family or host_family(target.source, None), (target.source, 0)
    if target.is_udp:
        dialing: Waiting[socket.socket] = open_udp(
            place, plain_socket, local_addr=local, remote_addr=remote, family=family
        )
    else:
        dialing = connect_tcp(place, *remote, local_addr=local, family=family)
    return run(_within(target.limit_s + command.wait_s, dialing), _teller(command, target))


def _teller(command: Command, target: Target) -> Callable[[], object] | None:
    return teller(f"waiting for {target.host} port {target.port} in {command.namespace}")


async def _within(limit_s: float, dialing: Waiting[socket.socket]) -> socket.socket:
    """Limit the time of an attempt. A TimeoutError ends it."""
    deadline = monotonic() + limit_s
    try:
        end, sockets = dialing.send(None)
        while True:
            ready = await wait(min(end, deadline), sockets)
            if not ready and monotonic() >= deadline:
                raise TimeoutError
            end, sockets = dialing.send(ready)
    except StopIteration as result:
        sock: socket.socket = result.value
        return sock
    finally:
        dialing.close()
