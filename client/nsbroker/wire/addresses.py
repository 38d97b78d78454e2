"""Addresses on the wire: one shape for each family, always numeric."""

from __future__ import annotations

import socket
from functools import lru_cache

from .bounds import MAX_ABSTRACT_BYTES, MAX_ALSO, MAX_INTERFACE_BYTES
from .messages import Address, ProtocolError
from .packet import Value, expect_int, expect_list, expect_str, shorten

_AF_UNIX = int(socket.AF_UNIX)
_AF_INET = int(socket.AF_INET)
_AF_INET6 = int(socket.AF_INET6)
_AF_PACKET = int(socket.AF_PACKET)
_IPPROTO_SCTP = 132


def decode_bind(value: Value, family: int) -> Address:
    """Read the address to which a socket spec asks the broker to bind.

    Raises:
        ProtocolError: the value does not have the family's shape, or its host is not a numeric address of the family.
    """
    if family in (_AF_INET, _AF_INET6):
        return _decode_inet(value, family)
    if family == _AF_UNIX:
        if type(value) is not bytes or len(value) > MAX_ABSTRACT_BYTES:
            raise ProtocolError(f"an abstract Unix name is at most {MAX_ABSTRACT_BYTES} bytes, got {shorten(value)}")
        return value
    if family == _AF_PACKET:
        return _decode_packet(value)
    raise ProtocolError(f"the broker can't bind a socket of family {family}")


def decode_connect(value: Value, family: int) -> Address:
    """Read the address to which a client wants to connect a socket.

    Raises:
        ProtocolError: the family is not one of IP, or the value does not have its shape.
    """
    if family not in (_AF_INET, _AF_INET6):
        raise ProtocolError(f"connect is only for IP sockets, not for family {family}")
    return _decode_inet(value, family)


def decode_also(value: Value, family: int, proto: int, bind: Address | None) -> tuple[Address, ...]:
    """Read the additional addresses of an SCTP socket.

    Raises:
        ProtocolError: it is not an SCTP socket, there are too many addresses, or one of them does not have the family's
            shape or the port of `bind`.
    """
    values = expect_list(value, "also")
    if not values:
        return ()
    if bind is None or proto != _IPPROTO_SCTP or family not in (_AF_INET, _AF_INET6):
        raise ProtocolError("also is only for SCTP sockets with bind")
    if len(values) > MAX_ALSO:
        raise ProtocolError(f"also has {len(values)} addresses, and the most is {MAX_ALSO}")
    addresses = tuple(_decode_inet(address, family) for address in values)
    if any(address[1] != bind[1] for address in addresses):
        raise ProtocolError("all addresses of a socket must have the same port")
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
        raise ProtocolError(f"{shorten(host)} is not a numeric address of family {family}") from error
    return host


def _decode_packet(value: Value) -> Address:
    if type(value) is not list or len(value) != 2:
        raise ProtocolError(f"an address of AF_PACKET is [interface, protocol], got {shorten(value)}")
    interface = expect_str(value[0], "interface")
    if len(interface.encode()) > MAX_INTERFACE_BYTES or "\0" in interface or "/" in interface:
        raise ProtocolError(f"{shorten(interface)} is not an interface name")
    return interface, expect_int(value[1], 0, 65535, "protocol")


def decode_address(value: Value) -> Address:
    """Read the address of a socket in a reply, which does not repeat the family.

    Raises:
        ProtocolError: the value has no family's shape.
    """
    if type(value) is bytes and len(value) <= MAX_ABSTRACT_BYTES:
        return value
    if type(value) is list and len(value) in (2, 4):
        host, *numbers = value
        checked = [expect_int(number, 0, 2**32 - 1, "a number of an address") for number in numbers]
        return (expect_str(host, "the host of an address"), *checked)  # type: ignore[return-value]  # 2 or 4 items
    raise ProtocolError(f"address must be an address of some family, got {shorten(value)}")


def encode_address(address: Address) -> Value:
    """Return the address in the form that msgpack carries."""
    return address if type(address) is bytes else list(address)
