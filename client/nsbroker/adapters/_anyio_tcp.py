"""anyio's rules for TCP: which addresses a connection tries, and on which sockets a listener listens."""

from __future__ import annotations

import errno
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING

from ..drivers.anyio import run
from ..link.broker import plain_socket
from ..place.connecting import connect_to
from ..place.listening import listener_spec
from ._place import idna_2008

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from ..names.numeric import AddressInfo
    from ..place.place import Place
    from ..wire.messages import Option, SocketSpec

NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
"""anyio sets this on every connection."""

PASSIVE = socket.AI_PASSIVE | socket.AI_ADDRCONFIG

_PORT_ATTEMPTS = 10
"""A port that is free for the first address can be in use for the next one. Source: `anyio.create_tcp_listener`."""


async def look_up(
    place: Place,
    host: str | bytes | None,
    port: int | str | None,
    family: int = 0,
    type: int = 0,  # noqa: A002  # the socket module's own name
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """Look up a name by the rules of IDNA 2008, as anyio does."""
    return await run(place.getaddrinfo(idna_2008(host), port, family, type, proto, flags))


def two_items(address: tuple[Any, ...]) -> tuple[str, int]:
    """Return anyio's form of an address: (host, port), with the scope of IPv6 in the host."""
    host, port, _, scope_id = (*address, 0, 0)[:4]
    return (f"{host.partition('%')[0]}%{scope_id}" if scope_id else host), port


async def connect(
    place: Place,
    host: str,
    port: int,
    *,
    local_host: object = None,
    local_port: int | None = None,
    happy_eyeballs_delay: float = 0.25,
    options: Sequence[Option] = (),
) -> socket.socket:
    """Connect a socket as `anyio.connect_tcp` does. The caller owns it. The broker sets the options.

    Raises:
        socket.gaierror: a name has no address.
        OSError: no address could be reached.
    """
    local, family = None, 0
    if local_host:
        local = (await look_up(place, str(local_host), local_port, type=socket.SOCK_STREAM))[:1]
        family = local[0][0]
    if _is_address(host):
        found = await run(place.stream_addresses(host, port))
    else:
        found = _ipv6_first(await look_up(place, host, port, family=family, type=socket.SOCK_STREAM))
    try:
        sock = await run(connect_to(place, found, local=local, options=options, stagger_s=happy_eyeballs_delay))
    except ExceptionGroup as group:
        cause = group.exceptions[0]
        if len(group.exceptions) > 1:
            cause = ExceptionGroup("multiple connection attempts failed", group.exceptions)
        raise OSError("All connection attempts failed") from cause
    sock.setsockopt(*NO_DELAY)
    return sock


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _ipv6_first(found: list[AddressInfo]) -> list[AddressInfo]:
    """Put the first IPv6 address in front, and the first IPv4 address after it. The others keep their order."""
    firsts = [
        first
        for family in (socket.AF_INET6, socket.AF_INET)
        if (first := next((info for info in found if info[0] == family), None))
    ]
    return firsts + [info for info in found if info not in firsts]


async def listen(
    place: Place, local_host: object, local_port: int, family: int, backlog: int, *, reuse_port: bool
) -> list[socket.socket]:
    """Listen as `anyio.create_tcp_listener` does. The caller owns the sockets.

    Raises:
        socket.gaierror: a name has no address.
        OSError: as `Client.open`.
    """
    host = None if local_host is None else str(local_host)
    found = await look_up(place, host, local_port, family=family, type=socket.SOCK_STREAM, flags=PASSIVE)
    addresses = sorted({(info[0], info[4]) for info in found})

    def spec(family: int, address: tuple[Any, ...], port: int, *, dualstack_ipv6: bool = False) -> SocketSpec:
        birth = place.spec(family, socket.SOCK_STREAM)
        return listener_spec(
            place.namespace,
            (address[0], port, *address[2:]),
            family,
            min(backlog, 0xFFFF),
            reuse_port=reuse_port,
            dualstack_ipv6=dualstack_ipv6,
            at_birth=birth.options,
        )._replace(type=birth.type)

    if host is None and not family and any(family == socket.AF_INET6 for family, _ in addresses):
        any_address = spec(socket.AF_INET6, ("::", local_port), local_port, dualstack_ipv6=True)
        return await run(place.open(plain_socket, [any_address]))
    if local_port or len(addresses) == 1:
        return await run(place.open(plain_socket, [spec(*address, local_port) for address in addresses]))
    failures = []
    for _ in range(_PORT_ATTEMPTS):
        first = await run(place.open(plain_socket, [spec(*addresses[0], 0)]))
        try:
            port = first[0].getsockname()[1]
            return first + await run(place.open(plain_socket, [spec(*address, port) for address in addresses[1:]]))
        except BaseException as error:
            first[0].close()
            if not isinstance(error, OSError) or error.errno != errno.EADDRINUSE:
                raise
            failures.append(error)
            addresses.append(addresses.pop(0))
    text = f"Could not create {len(addresses)} listeners with a consistent port"
    raise OSError(text) from ExceptionGroup("Several bind attempts failed", failures)
