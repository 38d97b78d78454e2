"""getaddrinfo(3), as `socket.getaddrinfo` gives it, over actions that a driver performs inside a namespace."""

from __future__ import annotations

import socket

from ..wire.record import Record
from .actions import Configure, FindFamilies, FindSources
from .failure import EAI_BADFLAGS, EAI_FAMILY, EAI_NONAME, gaierror
from .literal import AF_INET, AF_INET6, Address, families_of, is_localhost, localhost, mapped, no_host, numeric
from .order import preference
from .plan import look_up
from .services import services

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from .actions import Configuration, SocketAddress, Steps

    AddressInfo: TypeAlias = tuple[socket.AddressFamily, socket.SocketKind, int, str, SocketAddress]

_PASSIVE = int(socket.AI_PASSIVE)
_CANONNAME = int(socket.AI_CANONNAME)
_NUMERICHOST = int(socket.AI_NUMERICHOST)
_V4MAPPED = int(socket.AI_V4MAPPED)
_ALL = int(socket.AI_ALL)
_ADDRCONFIG = int(socket.AI_ADDRCONFIG)
_NUMERICSERV = int(socket.AI_NUMERICSERV)
_IDN_FLAGS = 0x40 | 0x80 | 0x100 | 0x200
"""AI_IDN and its kin: names are encoded here in any case, and given back as they are in DNS, as Python does."""
_KNOWN = _PASSIVE | _CANONNAME | _NUMERICHOST | _V4MAPPED | _ALL | _ADDRCONFIG | _NUMERICSERV | _IDN_FLAGS


class _Host(Record):
    addresses: tuple[Address, ...]
    canonical: str


def getaddrinfo(
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,  # noqa: A002  # the socket module's own name
    proto: int = 0,
    flags: int = 0,
    rotation: int = 0,
) -> Steps[list[AddressInfo]]:
    """Find the addresses of a host and a service, with the arguments and the result of `socket.getaddrinfo`.

    `rotation` is for `options rotate`: which name server it begins with.

    Raises:
        socket.gaierror: as there, and as `plan.look_up`. A host that no name can be is EAI_NONAME, not a UnicodeError.
        OSError: the broker fails.
    """
    name, service = encode_host(host), _encode_port(port)
    family, flags = int(family), int(flags)
    _check(name, service, family, flags)
    if flags & _ADDRCONFIG:
        family = yield from _configured_family(family)
    kinds = services(service, int(type), int(proto), numeric_only=bool(flags & _NUMERICSERV))
    found = yield from _addresses(name, family, flags, rotation)
    addresses = found.addresses
    if len(addresses) > 1:
        addresses = yield from _in_order(addresses, kinds[0].port)
    canonical = found.canonical if flags & _CANONNAME else ""
    return [
        (
            socket.AddressFamily(address.family),
            socket.SocketKind(kind.type),
            kind.proto,
            canonical if number == 0 and kind is kinds[0] else "",
            address.with_port(kind.port),
        )
        for number, address in enumerate(addresses)
        for kind in kinds
    ]


def encode_host(host: object) -> str | None:
    """Give a host in ASCII; None for none.

    Raises:
        socket.gaierror: no name can look like this.
        TypeError: it is no text.
    """
    if host is None or (isinstance(host, str) and host.isascii()):
        name = host
    elif isinstance(host, str | bytes):
        try:
            name = (host if isinstance(host, bytes) else host.encode("idna")).decode("ascii")
        except UnicodeError as error:
            raise gaierror(EAI_NONAME) from error
    else:
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    if name and "\0" in name:
        raise gaierror(EAI_NONAME)
    return None if name == "*" else name


def _encode_port(port: object) -> str | None:
    if port is None:
        return None
    if isinstance(port, int):
        text = str(int(port))
    elif isinstance(port, bytes):
        text = port.decode("utf-8", "surrogateescape")
    elif isinstance(port, str):
        text = port
    else:
        raise OSError("Int or String expected")
    return None if text == "*" else text


def _check(name: str | None, service: str | None, family: int, flags: int) -> None:
    if name is None and service is None:
        raise gaierror(EAI_NONAME)
    if flags & ~_KNOWN or (flags & _CANONNAME and name is None):
        raise gaierror(EAI_BADFLAGS)
    if family not in (0, AF_INET, AF_INET6):
        raise gaierror(EAI_FAMILY)


def _configured_family(family: int) -> Steps[int]:
    """Give the family that is left when the namespace lacks the other one."""
    present: frozenset[int] = yield FindFamilies()
    if family == 0:
        return next(iter(present)) if len(present) == 1 else 0
    if family not in present:
        raise gaierror(EAI_NONAME)
    return family


def _addresses(name: str | None, family: int, flags: int, rotation: int) -> Steps[_Host]:
    if name is None:
        return _Host(no_host(family, passive=bool(flags & _PASSIVE)), "")
    v4_mapped = bool(flags & _V4MAPPED)
    if address := (yield from numeric(name, family, v4_mapped=v4_mapped)):
        return _Host((address,), name)
    if flags & _NUMERICHOST or not name:
        raise gaierror(EAI_NONAME)
    maps = v4_mapped and family == AF_INET6
    host = yield from _named(name, (AF_INET6, AF_INET) if maps else families_of(family), rotation)
    return host._replace(addresses=_as_ipv6(host.addresses, keep_all=bool(flags & _ALL))) if maps else host


def _named(name: str, families: tuple[int, ...], rotation: int) -> Steps[_Host]:
    """Find a name: localhost, in the namespace's hosts file, or in DNS."""
    if is_localhost(name):
        return _Host(localhost(families), name)
    configuration: Configuration = yield Configure()
    if lines := configuration.hosts.by_name(name, families):
        return _Host(tuple(Address(line.family, line.address) for line in lines), lines[0].names[0])
    found = yield from look_up(name, families, configuration, rotation)
    return _Host(tuple(Address(family, host) for family, host in found.addresses), found.canonical)


def _as_ipv6(addresses: tuple[Address, ...], *, keep_all: bool) -> tuple[Address, ...]:
    ipv6 = tuple(address for address in addresses if address.family == AF_INET6)
    if ipv6 and not keep_all:
        return ipv6
    return ipv6 + tuple(mapped(address) for address in addresses if address.family == AF_INET)


def _in_order(addresses: tuple[Address, ...], port: int) -> Steps[tuple[Address, ...]]:
    destinations = tuple(address.with_port(port) for address in addresses)
    sources: tuple[str | None, ...] | None = yield FindSources(destinations)
    return tuple(addresses[index] for index in preference([address.host for address in addresses], sources))
