"""getaddrinfo(3) inside a namespace, with the arguments, results and errors of `socket.getaddrinfo`."""

from __future__ import annotations

import socket

from ..wire.record import Record
from .errors import (
    EAI_ADDRFAMILY,
    EAI_BADFLAGS,
    EAI_FAMILY,
    EAI_NODATA,
    EAI_NONAME,
    HostEncodingError,
    NoRecoveryError,
    gaierror,
)
from .files.services import is_number, no_name, services
from .numeric import ipv4_address
from .order import preference
from .sources import AF_INET, AF_INET6, find_by_name, find_mapped, is_only_digits, reordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .host import Host
    from .inside import Inside
    from .numeric import AddressInfo, SocketAddress

_PASSIVE = int(socket.AI_PASSIVE)
_CANONNAME = int(socket.AI_CANONNAME)
_NUMERICHOST = int(socket.AI_NUMERICHOST)
_V4MAPPED = int(socket.AI_V4MAPPED)
_ALL = int(socket.AI_ALL)
_ADDRCONFIG = int(socket.AI_ADDRCONFIG)
_NUMERICSERV = int(socket.AI_NUMERICSERV)
_IDN_FLAGS = 0x40 | 0x80 | 0x100 | 0x200
"""AI_IDN and its variants. This module always encodes names, and returns them as they are in DNS, as Python does."""
_KNOWN = _PASSIVE | _CANONNAME | _NUMERICHOST | _V4MAPPED | _ALL | _ADDRCONFIG | _NUMERICSERV | _IDN_FLAGS

_MAX_LABEL = 63
_MAX_SCOPE = 0xFFFFFFFF
_LOOPBACK = {AF_INET6: "::1", AF_INET: "127.0.0.1"}
_ANY = {AF_INET6: "::", AF_INET: "0.0.0.0"}
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"


class Address(Record):
    """An address in its usual form. `scope` is the index of its interface, and only IPv6 has one."""

    family: int
    host: str
    scope: int = 0

    def with_port(self, port: int) -> SocketAddress:
        """Return the form for the socket module."""
        return (self.host, port) if self.family == AF_INET else (self.host, port, 0, self.scope)


class _Host(Record):
    addresses: tuple[Address, ...]
    canonical: str


async def getaddrinfo(
    inside: Inside,
    host: str | bytes | None,
    port: int | str | bytes | None,
    family: int = 0,
    type: int = 0,  # noqa: A002  # the socket module's own name
    proto: int = 0,
    flags: int = 0,
) -> list[AddressInfo]:
    """Find the addresses of a host and a service.

    Raises:
        socket.gaierror: as in the socket module, and as `sources.find_by_name`. For a host that can't be a name, this
            is a UnicodeError, too.
        OSError: the broker fails.
    """
    name, service = encode_host(host), _encode_port(port)
    family, flags = int(family), int(flags)
    _check(name, service, family, flags)
    if flags & _ADDRCONFIG:
        family = await _configured_family(inside, family)
    by_name = no_name if service is None or is_number(service) else (await inside.configuration()).port_of
    found_services = services(service, int(type), int(proto), numeric_only=bool(flags & _NUMERICSERV), by_name=by_name)
    addresses, canonical = await _find_host(inside, name, family, flags)
    if len(addresses) > 1:
        destinations = [address.with_port(found_services[0].port) for address in addresses]
        sources = await inside.find_sources(destinations)
        rules = (await inside.configuration()).rules
        order = preference([each.host for each in addresses], sources, rules)
        addresses = tuple(addresses[index] for index in order)
    rows = [(address, service) for address in addresses for service in found_services]
    return [
        (
            socket.AddressFamily(address.family),
            socket.SocketKind(service.type),
            service.proto,
            canonical if number == 0 and flags & _CANONNAME else "",
            address.with_port(service.port),
        )
        for number, (address, service) in enumerate(rows)
    ]


def encode_host(host: object, *, star_is_any: bool = True) -> str | None:
    """Return a host in ASCII, or `None` for no host.

    Raises:
        socket.gaierror: no name can look like this. If the codec "idna" can't encode it, this is a HostEncodingError.
        TypeError: it is not text.
    """
    if host is None:
        name = None
    elif isinstance(host, str):
        name = host if host.isascii() and _has_good_labels(host) else _encode_idna(host)
    elif isinstance(host, bytes):
        name = host.decode(errors="surrogateescape")
    else:
        raise TypeError("getaddrinfo() argument 1 must be string or None")
    if name and "\0" in name:
        raise gaierror(EAI_NONAME)
    return None if name == "*" and star_is_any else name


def _has_good_labels(name: str) -> bool:
    """Return whether the codec "idna" leaves an ASCII name as it is. The codec itself is slow to import."""
    labels = name.split(".")
    return all(labels[:-1]) and max(map(len, labels)) <= _MAX_LABEL


def _encode_idna(name: str) -> str:
    try:
        return name.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise HostEncodingError(EAI_NONAME, str(error)) from error


def _encode_port(port: object) -> str | None:
    if port is None:
        return None
    if isinstance(port, int):
        text = str(int(port))
    elif isinstance(port, bytes):
        text = port.decode("utf-8", "surrogateescape")
    elif isinstance(port, str):
        text = port.encode().decode()  # A lone surrogate is a UnicodeEncodeError, as in the socket module.
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


async def _configured_family(inside: Inside, family: int) -> int:
    """Return the family that remains if the namespace lacks the other one."""
    present = await inside.find_families()
    if family == 0:
        return next(iter(present)) if len(present) == 1 else 0
    if family not in present:
        raise gaierror(EAI_NONAME)
    return family


async def _find_host(inside: Inside, name: str | None, family: int, flags: int) -> _Host:
    families = (family,) if family else (AF_INET6, AF_INET)
    if name is None:
        return _Host(_fixed(_ANY if flags & _PASSIVE else _LOOPBACK, families), "")
    if address := await numeric(inside, name, family, v4_mapped=bool(flags & _V4MAPPED)):
        return _Host((address,), name)
    if flags & _NUMERICHOST or not name:
        raise gaierror(EAI_NONAME)
    try:
        return await _find_name(inside, name, family, flags)
    except NoRecoveryError as error:
        raise gaierror(EAI_NODATA if _is_simple(family, flags) else EAI_NONAME) from error


def _is_simple(family: int, flags: int) -> bool:
    """Return whether glibc uses gethostbyname(3). Source: try_simple_gethostbyname in its getaddrinfo.c."""
    return family == AF_INET and not flags & _CANONNAME


async def _find_name(inside: Inside, name: str, family: int, flags: int) -> _Host:
    if flags & _V4MAPPED and family == AF_INET6:
        return _as_ipv6(_found(await find_mapped(inside, name, keep_all=bool(flags & _ALL))), bool(flags & _ALL))
    if _is_simple(family, flags):
        if is_only_digits(name):
            raise gaierror(EAI_NONAME)
        return _found(await reordered(inside, await find_by_name(inside, family, name)))
    return _found(await find_by_name(inside, family, name))


def _found(host: Host) -> _Host:
    return _Host(tuple(Address(family, address) for family, address in host.addresses), host.canonical)


def _fixed(hosts: dict[int, str], families: Iterable[int]) -> tuple[Address, ...]:
    return tuple(Address(family, hosts[family]) for family in families)


def _as_ipv6(host: _Host, keep_all: bool) -> _Host:
    addresses = [_mapped(each.host) if each.family == AF_INET else each for each in host.addresses]
    if not keep_all and host.addresses[0].family == AF_INET6:
        # glibc leaves out mapped addresses here, also those that a hosts file has.
        addresses = [each for each in addresses if not socket.inet_pton(AF_INET6, each.host).startswith(_MAPPED_PREFIX)]
    if not addresses:
        raise gaierror(EAI_NONAME)
    return host._replace(addresses=tuple(addresses))


def _mapped(ipv4: str) -> Address:
    return Address(AF_INET6, f"::ffff:{ipv4}")


async def numeric(inside: Inside, host: str, family: int, *, v4_mapped: bool) -> Address | None:
    """Read a numeric host. Return `None` for a name.

    An IPv4 address may be short, as inet_aton(3) accepts it. A scope is the name or the index of an interface. Only
    link-local addresses can have the name.

    Raises:
        socket.gaierror: the address is of the other family, or there is no such scope.

    Source: text_to_binary_address in glibc's getaddrinfo.c.
    """
    if ipv4 := ipv4_address(host):
        if family != AF_INET6:
            return Address(AF_INET, ipv4)
        if not v4_mapped:
            raise gaierror(EAI_ADDRFAMILY)
        return _mapped(ipv4)
    text, percent, scope = host.partition("%")
    try:
        packed = socket.inet_pton(AF_INET6, text)
    except (OSError, ValueError):
        return None
    if family == AF_INET:
        if not packed.startswith(_MAPPED_PREFIX):
            raise gaierror(EAI_ADDRFAMILY)
        return Address(AF_INET, socket.inet_ntop(AF_INET, packed[12:]))
    index = await _scope_index(inside, packed, scope) if percent else 0
    return Address(AF_INET6, socket.inet_ntop(AF_INET6, packed), index)


def is_link_local(packed: bytes) -> bool:
    """Return whether an IPv6 address, as inet_pton(3) packs it, is valid on one link only."""
    return (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80) or (packed[0] == 0xFF and packed[1] & 0x0F == 0x02)


async def _scope_index(inside: Inside, packed: bytes, scope: str) -> int:
    """Source: __inet6_scopeid_pton in glibc's inet6_scopeid_pton.c."""
    if scope and is_link_local(packed) and (index := await inside.find_interface(scope)):
        return index
    if scope.isascii() and scope.isdecimal() and len(scope) <= len(str(_MAX_SCOPE)) and int(scope) <= _MAX_SCOPE:
        return int(scope)
    raise gaierror(EAI_NONAME)
