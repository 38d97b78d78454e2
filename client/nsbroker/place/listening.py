"""Listeners: their specs, with the defaults of `socket.create_server`, and one listener for each address of a name."""

from __future__ import annotations

import errno
import socket
from functools import lru_cache

from ..link.broker import plain_socket
from ..names.numeric import is_name, numeric_host, numeric_port
from ..wire.messages import Address, NamespaceRef, Option, SocketSpec
from ..wire.record import make_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .place import Place

DEFAULT_BACKLOG = 128
"""The default of `socket.listen`."""

_AF_INET6 = int(socket.AF_INET6)
_STREAM = int(socket.SOCK_STREAM)
_LAST_PORT = 65535
_MISSING_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def family_of(address: tuple[object, ...]) -> int:
    """Return the family of an address: AF_INET6 if it has a ":" in the host or four items, else AF_INET."""
    return _AF_INET6 if len(address) == 4 or ":" in str(address[0]) else int(socket.AF_INET)


def bind_address(address: tuple[object, ...], family: int) -> Address:
    """Return the address of a spec. It is numeric, except for names of hosts and interfaces: see `binding`.

    Raises:
        socket.gaierror: the host is an address of the other family.
        ValueError: it does not have the shape of the family's addresses.
    """
    if len(address) < 2 or not isinstance(address[0], str):
        raise ValueError(f"an address is (host, port), not {address!r}")
    port = numeric_port(address[1])
    if family != _AF_INET6:
        return _numeric_unless_name(address[0], family), port
    host, percent, scope = address[0].partition("%")
    host = _numeric_unless_name(host, family)
    if len(address) == 2 and not percent:
        return host, port, 0, 0
    flowinfo, scope_id = (int(str(number)) for number in (*address[2:], 0, 0)[:2])
    if scope.isdecimal():
        scope_id = scope_id or int(scope)
    elif percent and not scope_id:
        host = f"{host}%{scope}"
    return host, port, flowinfo, scope_id


@lru_cache(256)  # mostly, all listeners of a call have one host
def _numeric_unless_name(host: str, family: int) -> str:
    return host if is_name(host, family) else numeric_host(host, family)


def listener_spec(
    namespace: NamespaceRef,
    address: tuple[object, ...],
    family: int | None = None,
    backlog: int | None = None,
    *,
    reuse_port: bool = False,
    dualstack_ipv6: bool = False,
    at_birth: tuple[Option, ...] = (),
) -> SocketSpec:
    """Return the spec of a TCP listener for which the broker calls bind(2) and listen(2).

    Raises:
        socket.gaierror: the host is an address of the other family.
        ValueError: the address does not have the family's shape.
    """
    family = family_of(address) if family is None else int(family)
    options = at_birth + server_options(family, reuse_port=reuse_port, dualstack_ipv6=dualstack_ipv6)
    backlog = DEFAULT_BACKLOG if backlog is None else max(0, backlog)
    return SocketSpec(namespace, family, _STREAM, 0, bind_address(address, family), backlog, options)


def listener_specs(
    listeners: Iterable[tuple[NamespaceRef, tuple[object, ...]]],
    family: int | None = None,
    backlog: int | None = None,
    *,
    reuse_port: bool = False,
) -> list[SocketSpec]:
    """Return the specs of many listeners. A host that comes again takes a third of the time of `listener_spec`.

    Raises:
        socket.gaierror, ValueError: as `listener_spec`.
    """
    specs: list[SocketSpec] = []
    hosts: dict[object, SocketSpec] = {}
    for namespace, address in listeners:
        like = hosts.get(address[0]) if len(address) == 2 and type(address[0]) is str else None
        if like is not None and type(port := address[1]) is int and 0 <= port <= _LAST_PORT:
            _, its_family, _, _, bind, listen, options, _ = like
            at: Address = (*bind[:1], port, *bind[2:])  # type: ignore[index]  # an address of its family
            specs.append(make_record(SocketSpec, (namespace, its_family, _STREAM, 0, at, listen, options, ())))
        else:
            specs.append(listener_spec(namespace, address, family, backlog, reuse_port=reuse_port))
            if len(address) == 2:
                hosts[address[0]] = specs[-1]
    return specs


@lru_cache(16)
def server_options(family: int, *, reuse_port: bool = False, dualstack_ipv6: bool = False) -> tuple[Option, ...]:
    """Return the options that `socket.create_server` sets."""
    options = [(int(socket.SOL_SOCKET), int(socket.SO_REUSEADDR), 1)]
    if reuse_port:
        options.append((int(socket.SOL_SOCKET), int(socket.SO_REUSEPORT), 1))
    if family == _AF_INET6:
        options.append((int(socket.IPPROTO_IPV6), int(socket.IPV6_V6ONLY), int(not dualstack_ipv6)))
    return tuple(options)


async def listen_tcp(
    place: Place,
    hosts: str | Iterable[str | None] | None,
    port: int | str | None,
    *,
    family: int = 0,
    flags: int = socket.AI_PASSIVE,
    backlog: int | None = None,
    reuse_address: bool = True,
    reuse_port: bool = False,
) -> list[socket.socket]:
    """Listen on every address of the hosts. The caller owns the sockets, which are plain and non-blocking.

    Args:
        place: the namespace.
        hosts: names or addresses. `None` and "" stand for all addresses of IPv4 and IPv6.
        port: a number, or the name of a service.
        family: the family of addresses to use, or 0 for all.
        flags: as for getaddrinfo.
        backlog: as for `socket.listen`.
        reuse_address: set SO_REUSEADDR.
        reuse_port: set SO_REUSEPORT.

    Raises:
        socket.gaierror: a name has no address.
        OSError: as `Client.open`. A family that the namespace lacks is ignored as long as there is another address.
    """
    specs: dict[object, SocketSpec] = {}
    for host in [hosts] if hosts is None or isinstance(hosts, str) else hosts:
        for found, _, proto, _, address in await place.getaddrinfo(host or None, port, family, _STREAM, 0, flags):
            options = server_options(found, reuse_port=reuse_port)[0 if reuse_address else 1 :]
            spec = place.spec(found, _STREAM, proto)
            specs[address] = spec._replace(
                bind=address, listen=DEFAULT_BACKLOG if backlog is None else backlog, options=spec.options + options
            )
    wanted = list(specs.values())
    while True:
        try:
            # To wait for one of several addresses would delay the others: its family may be missing for good.
            return await place.open(plain_socket, wanted, wait_for_addresses=len(wanted) == 1)
        except OSError as error:
            index = getattr(error, "index", None)
            if error.errno not in _MISSING_FAMILY or index is None or len(wanted) == 1:
                raise
            del wanted[index]
