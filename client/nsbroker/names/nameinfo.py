"""getnameinfo(3), as `socket.getnameinfo` gives it, over actions that a driver performs inside a namespace."""

from __future__ import annotations

import socket

from .actions import Configure, NameInterface
from .addrinfo import encode_host
from .failure import EAI_BADFLAGS, EAI_NONAME, gaierror
from .literal import AF_INET, Address, is_link_local, numeric
from .plan import look_up_address
from .services import services

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .actions import Configuration, Steps

_IDN_FLAGS = 0x20 | 0x40 | 0x80
_KNOWN = (
    socket.NI_NUMERICHOST | socket.NI_NUMERICSERV | socket.NI_NOFQDN | socket.NI_NAMEREQD | socket.NI_DGRAM | _IDN_FLAGS
)
_MAX_FLOWINFO = 0xFFFFF
_MAX_SCOPE = 0xFFFFFFFF


def getnameinfo(
    sockaddr: tuple[object, ...],
    flags: int,
    rotation: int = 0,
    by_port: Callable[[int, str], str] = socket.getservbyport,
) -> Steps[tuple[str, str]]:
    """Find the names of a host and a service, with the arguments and the result of `socket.getnameinfo`.

    Raises:
        socket.gaierror: as there: EAI_AGAIN when no name server answers, EAI_NONAME with NI_NAMEREQD and no name.
        OSError: the broker fails.
    """
    address, port = yield from _address(sockaddr)
    if flags & ~_KNOWN:
        raise gaierror(EAI_BADFLAGS)
    host = "" if flags & socket.NI_NUMERICHOST else (yield from _name(address, flags, rotation))
    if not host:
        if flags & socket.NI_NAMEREQD:
            raise gaierror(EAI_NONAME)
        host = yield from _numeric_name(address)
    return host, _service_name(port, flags, by_port)


def _address(sockaddr: tuple[object, ...]) -> Steps[tuple[Address, int]]:
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    if not 2 <= len(sockaddr) <= 4 or not isinstance(sockaddr[0], str) or not isinstance(sockaddr[1], int):
        raise TypeError("getnameinfo(): illegal sockaddr argument")
    flowinfo, scope = (*sockaddr[2:], 0, 0)[:2]
    if not isinstance(flowinfo, int) or not isinstance(scope, int):
        raise TypeError("getnameinfo(): illegal sockaddr argument")
    if not 0 <= flowinfo <= _MAX_FLOWINFO:
        raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
    host = encode_host(sockaddr[0]) or ""
    address = yield from numeric(host, 0, v4_mapped=False)
    if address is None:
        raise gaierror(EAI_NONAME)
    port = services(str(sockaddr[1]), socket.SOCK_DGRAM, 0, numeric_only=False)[0].port
    if address.family == AF_INET:
        if len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        return address, port
    return address._replace(scope=scope & _MAX_SCOPE), port


def _name(address: Address, flags: int, rotation: int) -> Steps[str]:
    """Give the name of an address, from the namespace's hosts file or from DNS; "" if it has none."""
    configuration: Configuration = yield Configure()
    names = configuration.hosts.by_address(address.host)
    try:
        name = names[0] if names else (yield from look_up_address(_packed(address), configuration, rotation))
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA):
            return ""
        raise
    if flags & socket.NI_NOFQDN and configuration.settings.search:
        return name.removesuffix(f".{configuration.settings.search[0].strip('.')}")
    return name


def _numeric_name(address: Address) -> Steps[str]:
    if not address.scope:
        return address.host
    interface = ""
    if is_link_local(_packed(address)):
        interface = yield NameInterface(address.scope)
    return f"{address.host}%{interface or address.scope}"


def _service_name(port: int, flags: int, by_port: Callable[[int, str], str]) -> str:
    if not flags & socket.NI_NUMERICSERV:
        try:
            return by_port(port, "udp" if flags & socket.NI_DGRAM else "tcp")
        except OSError:
            pass
    return str(port)


def _packed(address: Address) -> bytes:
    return socket.inet_pton(address.family, address.host)
