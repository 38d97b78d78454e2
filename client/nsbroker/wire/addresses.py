"""Addresses on the wire: one shape for each family, numeric, never looked up."""

from __future__ import annotations

import socket
from functools import lru_cache

from .limits import MAX_ABSTRACT_BYTES, MAX_ALSO
from .messages import Address, ProtocolError
from .packet import Value, expect_int, expect_list, expect_str, shorten

_AF_UNIX = int(socket.AF_UNIX)
_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)
_AF_PACKET = int(socket.AF_PACKET)
_IPPROTO_SCTP = 132

MAX_INTERFACE_BYTES = 15
"""Kernel limit: IFNAMSIZ less the NUL. No bytes at all mean every interface."""


def decode_address(value: Value, family: int) -> Address:
    """Read the address of a spec to bind to.

    Raises:
        ProtocolError: not the family's shape, or a host that is no numeric address of that family.
    """
    if family in (_AF_INET, _AF_INET6):
        return _decode_inet(value, family)
    if family == _AF_UNIX:
        if type(value) is not bytes or len(value) > MAX_ABSTRACT_BYTES:
            raise ProtocolError(f"an abstract Unix name is at most {MAX_ABSTRACT_BYTES} bytes, got {shorten(value)}")
        return value
    if family == _AF_PACKET:
        return _decode_packet(value)
    raise ProtocolError(f"a socket of family {family} can't be bound by the broker")


def decode_also(value: Value, family: int, proto: int, bind: Address | None) -> tuple[Address, ...]:
    """Read the further addresses of an SCTP socket.

    Raises:
        ProtocolError: another socket, too many, not the family's shape, or another port than that of `bind`.
    """
    values = expect_list(value, "also")
    if not values:
        return ()
    if bind is None or proto != _IPPROTO_SCTP or family not in (_AF_INET, _AF_INET6):
        raise ProtocolError("also is for SCTP sockets with bind alone")
    if len(values) > MAX_ALSO:
        raise ProtocolError(f"{len(values)} further addresses; a socket spec takes at most {MAX_ALSO}")
    addresses = tuple(_decode_inet(address, family) for address in values)
    if any(address[1] != bind[1] for address in addresses):
        raise ProtocolError("all addresses of a socket have one port")
    return addresses


def _decode_inet(value: Value, family: int) -> Address:
    if type(value) is not list or len(value) != (2 if family == _AF_INET else 4):
        shape = "[host, port]" if family == _AF_INET else "[host, port, flowinfo, scope id]"
        raise ProtocolError(f"an address of family {family} is {shape}, got {shorten(value)}")
    host = _check_host(expect_str(value[0], "host"), family)
    port = expect_int(value[1], 0, 65535, "port")
    if family == _AF_INET:
        return host, port
    return host, port, expect_int(value[2], 0, 2**20 - 1, "flowinfo"), expect_int(value[3], 0, 2**32 - 1, "scope id")


@lru_cache(1024)
def _check_host(host: str, family: int) -> str:
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError) as error:
        raise ProtocolError(f"{shorten(host)} is no numeric address of family {family}") from error
    return host


def _decode_packet(value: Value) -> Address:
    if type(value) is not list or len(value) != 2:
        raise ProtocolError(f"an address of AF_PACKET is [interface, protocol], got {shorten(value)}")
    interface = expect_str(value[0], "interface")
    if len(interface.encode()) > MAX_INTERFACE_BYTES or "\0" in interface or "/" in interface:
        raise ProtocolError(f"{shorten(interface)} is no interface name")
    return interface, expect_int(value[1], 0, 65535, "protocol")


def decode_name(value: Value) -> Address:
    """Read where a socket of a reply is bound; the reply does not repeat the family.

    Raises:
        ProtocolError: no address of any family.
    """
    if type(value) is bytes and len(value) <= MAX_ABSTRACT_BYTES:
        return value
    if type(value) is list and len(value) in (2, 4):
        host, *numbers = value
        checked = [expect_int(number, 0, 2**32 - 1, "number in name") for number in numbers]
        return (expect_str(host, "host in name"), *checked)  # type: ignore[return-value]  # 2 or 4 items, as checked
    raise ProtocolError(f"name must be an address, got {shorten(value)}")


def encode_address(address: Address) -> Value:
    """Give the address as msgpack carries it."""
    return address if type(address) is bytes else list(address)
