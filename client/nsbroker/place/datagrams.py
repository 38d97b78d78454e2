"""UDP sockets by name: bound, connected, or both."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from ..link.waiting import connect
from ..names.numeric import numeric_address
from .connecting import bind_to_one
from .options import add_options

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from _typeshed import ReadableBuffer

    from ..names.numeric import AddressInfo
    from ..wire.messages import SocketSpec
    from .connecting import LocalAddress
    from .place import Place

    S = TypeVar("S", bound=socket.socket)

DGRAM = int(socket.SOCK_DGRAM)
_FIRST_FREE_PORT = 1024
"""The broker binds to lower ports, if the policy grants them."""


async def open_udp(
    place: Place,
    take_fd: Callable[[SocketSpec, int], S],
    *,
    local_addr: LocalAddress | None = None,
    remote_addr: LocalAddress | None = None,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    options: Sequence[tuple[int, int, int]] = (),
) -> S:
    """Open a socket, bound and connected to the first addresses that work. The caller owns it.

    Args:
        place: the namespace.
        take_fd: makes the socket.
        local_addr: (host, port) to bind to, looked up.
        remote_addr: (host, port) to connect to, looked up.
        family: the family of addresses to use, or 0 for all.
        proto: as for getaddrinfo.
        flags: as for getaddrinfo.
        options: (level, name, value) of setsockopt(2).

    Raises:
        ValueError: there is neither an address nor a family, or no family has both addresses.
        socket.gaierror: a name has no address.
        OSError: as `Client.open`, bind(2) and connect(2), for the first address.
    """
    local = remote = None
    if local_addr is not None:
        local = await place.getaddrinfo(*local_addr, family, DGRAM, proto, flags)
    if remote_addr is not None:
        remote = await place.getaddrinfo(*remote_addr, family, DGRAM, proto, flags)
    failure: OSError | None = None
    for found, found_proto, here, there in _pairs(local, remote, family, proto):
        try:
            spec = place.spec(found, DGRAM, found_proto)
            spec = spec._replace(options=add_options(spec.options, options))
            return await _open_one(place, take_fd, spec, here, there)
        except OSError as error:
            failure = failure or error
    if failure is None:
        raise ValueError("can not get address information")
    try:
        raise failure
    finally:
        failure = None  # A traceback that holds its own exception would be a cycle.


def _pairs(
    local: list[AddressInfo] | None, remote: list[AddressInfo] | None, family: int, proto: int
) -> list[tuple[int, int, tuple[Any, ...] | None, tuple[Any, ...] | None]]:
    """Return (family, protocol, local, remote address) for each address to try, in order."""
    if local is None and remote is None:
        if family == 0:
            raise ValueError("unexpected address family")
        return [(int(family), proto, None, None)]
    first, second = (remote, local) if remote is not None else (local, None)
    pairs: list[tuple[int, int, tuple[Any, ...] | None, tuple[Any, ...] | None]] = []
    for found, _, found_proto, _, address in first or ():
        others = [None] if second is None else [info[4] for info in second if info[0] == found][:1]
        for other in others:
            here, there = (address, None) if remote is None else (other, address)
            pairs.append((found, found_proto, here, there))
    return pairs


async def _open_one(
    place: Place,
    take_fd: Callable[[SocketSpec, int], S],
    spec: SocketSpec,
    local: tuple[Any, ...] | None,
    remote: tuple[Any, ...] | None,
) -> S:
    by_broker = local is not None and 0 < local[1] < _FIRST_FREE_PORT
    [sock] = await place.open(take_fd, [spec._replace(bind=local) if by_broker else spec])
    try:
        if local is not None and not by_broker:
            bind_to_one(sock, [local])
        if remote is not None:
            await connect(sock, remote)
    except BaseException:
        sock.close()
        raise
    return sock


class NumericSocket(socket.socket):
    """A socket that sends to numeric addresses only. `socket.sendto` would look up a name in the caller's namespace."""

    __slots__ = ()

    def sendto(self, data: ReadableBuffer, *flags_address: Any) -> int:
        """Send to an address.

        Raises:
            socket.gaierror: its host is a name.
        """
        *flags, address = flags_address
        return super().sendto(data, *flags, numeric_address(self, address))  # type: ignore[call-overload,no-any-return]  # its own TypeError


def numeric_socket(spec: SocketSpec, fd: int) -> NumericSocket:
    """Make a `NumericSocket` of a descriptor, which it then owns."""
    return NumericSocket(spec.family, spec.type, spec.proto, fd)
