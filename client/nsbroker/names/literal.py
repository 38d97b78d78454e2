"""Hosts that are no names: numeric ones, and localhost. What getaddrinfo(3) knows without asking anybody."""

from __future__ import annotations

import socket

from ..wire.record import Record
from .actions import FindInterface
from .failure import EAI_ADDRFAMILY, EAI_NONAME, gaierror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .actions import SocketAddress, Steps

AF_INET = int(socket.AF_INET)
AF_INET6 = int(socket.AF_INET6)

_IPV4_CHARACTERS = frozenset("0123456789abcdefABCDEFxX.")
_MAX_SCOPE = 0xFFFFFFFF
_LOOPBACK = {AF_INET6: "::1", AF_INET: "127.0.0.1"}
_ANY = {AF_INET6: "::", AF_INET: "0.0.0.0"}
_MAPPED = "::ffff:"


class Address(Record):
    """An address in its usual form; `scope` is the index of its interface, for IPv6 alone."""

    family: int
    host: str
    scope: int = 0

    def with_port(self, port: int) -> SocketAddress:
        """Give what the socket module takes."""
        return (self.host, port) if self.family == AF_INET else (self.host, port, 0, self.scope)


def mapped(address: Address) -> Address:
    """Give an IPv4 address in its form for IPv6 sockets."""
    return Address(AF_INET6, _MAPPED + address.host)


def families_of(family: int) -> tuple[int, ...]:
    """Give the families that AF_UNSPEC or another one stands for."""
    return (family,) if family else (AF_INET6, AF_INET)


def no_host(family: int, *, passive: bool) -> tuple[Address, ...]:
    """Give the addresses for no host at all: any address to listen on, or loopback to connect to."""
    hosts = _ANY if passive else _LOOPBACK
    return tuple(Address(each, hosts[each]) for each in families_of(family))


def is_localhost(name: str) -> bool:
    """Tell whether a name is localhost, or below it. Source: RFC 6761, section 6.3."""
    name = name.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def localhost(families: Iterable[int]) -> tuple[Address, ...]:
    """Give the addresses of localhost."""
    return tuple(Address(family, _LOOPBACK[family]) for family in families)


def numeric(host: str, family: int, *, v4_mapped: bool) -> Steps[Address | None]:
    """Read a numeric host; None if it is none.

    An IPv4 address may be short, as inet_aton(3) takes it. A scope is an interface's name or index; the name counts
    with link-local addresses alone.

    Raises:
        socket.gaierror: it is of the other family, or its scope is none.

    Source: text_to_binary_address in glibc's getaddrinfo.c.
    """
    if address := _ipv4(host):
        if family == AF_INET6:
            if not v4_mapped:
                raise gaierror(EAI_ADDRFAMILY)
            return mapped(address)
        return address
    text, percent, scope = host.partition("%")
    packed = _pack(AF_INET6, text)
    if packed is None:
        return None
    if family == AF_INET:
        if packed[:12] != bytes(10) + b"\xff\xff":
            raise gaierror(EAI_ADDRFAMILY)
        return Address(AF_INET, socket.inet_ntop(AF_INET, packed[12:]))
    index = (yield from _scope_index(packed, scope)) if percent else 0
    return Address(AF_INET6, socket.inet_ntop(AF_INET6, packed), index)


def is_link_local(packed: bytes) -> bool:
    """Tell whether an IPv6 address, as inet_pton(3) packs it, means something on one link alone."""
    return (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80) or (packed[0] == 0xFF and packed[1] & 0x0F == 0x02)


def _scope_index(packed: bytes, scope: str) -> Steps[int]:
    """Source: __inet6_scopeid_pton in glibc's inet6_scopeid_pton.c."""
    if scope and is_link_local(packed):
        index: int = yield FindInterface(scope)
        if index:
            return index
    if scope.isascii() and scope.isdecimal() and len(scope) <= len(str(_MAX_SCOPE)) and int(scope) <= _MAX_SCOPE:
        return int(scope)
    raise gaierror(EAI_NONAME)


def _ipv4(host: str) -> Address | None:
    if not _IPV4_CHARACTERS.issuperset(host):
        return None  # inet_aton(3) is content with a beginning.
    try:
        return Address(AF_INET, socket.inet_ntoa(socket.inet_aton(host)))
    except OSError:
        return None


def _pack(family: int, text: str) -> bytes | None:
    try:
        return socket.inet_pton(family, text)
    except (OSError, ValueError):
        return None
