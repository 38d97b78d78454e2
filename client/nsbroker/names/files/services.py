"""Services and their socket types: the part of getaddrinfo(3) that is not about the host."""

from __future__ import annotations

import re
from functools import lru_cache

from ...wire.record import Record
from ..errors import EAI_NONAME, EAI_SERVICE, EAI_SOCKTYPE, gaierror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STREAM, _DGRAM, _RAW, _SEQPACKET, _DCCP = 1, 2, 3, 5, 6
_TCP, _UDP, _DCCP_PROTO, _SCTP, _UDPLITE = 6, 17, 33, 132, 136


class _Transport(Record):
    type: int
    proto: int
    name: str
    is_default: bool = False
    any_proto: bool = False
    has_services: bool = True


_TRANSPORTS = (
    _Transport(_STREAM, _TCP, "tcp", is_default=True),
    _Transport(_DGRAM, _UDP, "udp", is_default=True),
    _Transport(_DCCP, _DCCP_PROTO, "dccp"),
    _Transport(_DGRAM, _UDPLITE, "udplite"),
    _Transport(_STREAM, _SCTP, "sctp"),
    _Transport(_SEQPACKET, _SCTP, "sctp"),
    _Transport(_RAW, 0, "raw", is_default=True, any_proto=True, has_services=False),
)
"""Source: gaih_inet_typeproto in glibc's sysdeps/posix/getaddrinfo.c."""

_MASK = 0xFFFFFFFF
_MOST_DIGITS = 20


class Service(Record):
    """A socket's type and protocol, and the port of the service there."""

    type: int
    proto: int
    port: int


def services(
    service: str | None,
    type: int,  # noqa: A002  # the socket module's own name
    proto: int,
    *,
    numeric_only: bool,
    by_name: Callable[[str, str], int],
) -> list[Service]:
    """Return the services of a name, or of a number as text. "" means no service.

    Raises:
        socket.gaierror: there is no such service for sockets of this type and protocol.

    Source: get_servtuples in glibc's sysdeps/posix/getaddrinfo.c.
    """
    port = _number(service) if service else 0
    if port is None and numeric_only:
        raise gaierror(EAI_NONAME)
    name = service if service and (port is None or port < 0) else None
    chosen = _choose(type, proto) if type or proto else None
    if chosen and service and not chosen.has_services:
        raise gaierror(EAI_SERVICE)
    if name is None:
        number = (port or 0) & 0xFFFF
        if chosen:
            return [Service(chosen.type, proto if chosen.any_proto else chosen.proto, number)]
        return [Service(transport.type, transport.proto, number) for transport in _TRANSPORTS if transport.is_default]
    candidates = [transport for transport in ([chosen] if chosen else _TRANSPORTS) if transport.has_services]
    if found := [each for transport in candidates if (each := _named(name, transport, by_name))]:
        return found
    raise gaierror(EAI_SERVICE)


def _choose(type: int, proto: int) -> _Transport:  # noqa: A002  # as above
    for transport in _TRANSPORTS:
        if type in (0, transport.type) and (proto in (0, transport.proto) or transport.any_proto):
            return transport
    raise gaierror(EAI_SOCKTYPE if type else EAI_SERVICE)


def _named(name: str, transport: _Transport, by_name: Callable[[str, str], int]) -> Service | None:
    try:
        return Service(transport.type, transport.proto, by_name(name, transport.name))
    except (OSError, ValueError):
        return None


def no_name(service: str, protocol: str) -> int:
    """Find no service. This is for callers that have a number.

    Raises:
        OSError: always.
    """
    raise OSError("service/proto not found")


def is_number(service: str) -> bool:
    """Return whether a service is given by its port, or is "". Only a name is looked up."""
    number = _number(service) if service else 0
    return number is not None and number >= 0


@lru_cache(64)  # each look-up needs it twice
def _number(text: str) -> int | None:
    """Read a number as glibc does (strtoul(3), cut to an int). Return `None` for other text."""
    match = re.fullmatch(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)", text)
    if not match:
        return None
    digits = match[2].lstrip("0")
    if len(digits) > _MOST_DIGITS or int(digits or 0) >= 1 << 64:
        return -1
    number = (-1 if match[1] == "-" else 1) * int(digits or 0) & _MASK
    return number - (1 << 32) if number >> 31 else number
