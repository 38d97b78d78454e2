"""Connecting by name, as steps: all addresses of a host, in the order and with the delays of happy eyeballs."""

from __future__ import annotations

import itertools
import socket

from .racing import race
from .sockets import connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from ..link.waiting import Steps
    from ..names.addrinfo import AddressInfo
    from .place import Place

    LocalAddress: TypeAlias = tuple[str | None, int | str | None]

STREAM = int(socket.SOCK_STREAM)


def connect_tcp(
    place: Place,
    host: str | bytes | None,
    port: int | str | bytes | None,
    *,
    family: int = 0,
    proto: int = 0,
    flags: int = 0,
    local_addr: LocalAddress | None = None,
    stagger_s: float | None = 0.25,
    interleave_from: int = 1,
) -> Steps[socket.socket]:
    """Connect to a host; the caller owns the socket, which is plain and non-blocking.

    Args:
        place: where.
        host: a name or an address; None is the loopback address.
        port: a number, or a service's name.
        family: which addresses to use; 0 for all.
        proto: as for getaddrinfo.
        flags: as for getaddrinfo.
        local_addr: (host, port) to bind to, looked up as well.
        stagger_s: seconds after which the next address is tried beside the last one; None: when that failed.
        interleave_from: how many addresses of the first family come before one of another; 0: as they were found.

    Raises:
        socket.gaierror: a name has no address.
        ExceptionGroup: of OSErrors: no address could be reached.
        Error: as `Client.open`.
    """
    found = yield from place.getaddrinfo(host, port, family, STREAM, proto, flags)
    local: list[AddressInfo] | None = None
    if local_addr is not None:
        local = yield from place.getaddrinfo(*local_addr, family, STREAM, proto, flags)
    ordered = interleave(found, interleave_from) if interleave_from else found
    return (yield from race([_attempt(place, info, local) for info in ordered], stagger_s))


def _attempt(place: Place, info: AddressInfo, local: list[AddressInfo] | None) -> Steps[socket.socket]:
    family, kind, proto, _, address = info
    sock = yield from place.open_one(family, kind, proto)
    try:
        if local is not None:
            bind_to_one(sock, [address for other, _, _, _, address in local if other == family])
        yield from connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return sock


def bind_to_one(sock: socket.socket, addresses: Sequence[tuple[Any, ...]]) -> None:
    """Bind to the first of these addresses that the namespace has; the texts of errors are asyncio's.

    Raises:
        OSError: as bind(2), or no address is of the socket's family.
    """
    problem = OSError(f"no matching local address with family={sock.family!r} found")
    for address in addresses:
        try:
            return sock.bind(address)
        except OSError as error:
            text = f"error while attempting to bind on address {address!r}: {str(error.strerror).lower()}"
            problem = OSError(error.errno, text)
    raise problem


def interleave(found: list[AddressInfo], first: int = 1) -> list[AddressInfo]:
    """Let the families take turns, after `first` addresses of the first family. Source: RFC 8305, section 4."""
    families: dict[int, list[AddressInfo]] = {}
    for info in found:
        families.setdefault(info[0], []).append(info)
    lists = list(families.values())
    head, lists[:1] = (lists[0][: first - 1], [lists[0][first - 1 :]]) if lists else ([], [])
    turns = itertools.chain.from_iterable(itertools.zip_longest(*lists))
    return head + [info for info in turns if info is not None]
