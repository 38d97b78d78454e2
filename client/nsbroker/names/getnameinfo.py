"""getnameinfo(3) inside a namespace, with the arguments, results and errors of `socket.getnameinfo`."""

from __future__ import annotations

import socket

from .errors import EAI_BADFLAGS, EAI_NODATA, EAI_NONAME, NoRecoveryError, gaierror
from .files.services import no_name, services
from .getaddrinfo import Address, encode_host, is_link_local, numeric
from .sources import AF_INET, find_by_address, find_by_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .inside import Inside

_IDN_FLAGS = 0x20 | 0x40 | 0x80
_KNOWN = (
    socket.NI_NUMERICHOST | socket.NI_NUMERICSERV | socket.NI_NOFQDN | socket.NI_NAMEREQD | socket.NI_DGRAM | _IDN_FLAGS
)
_MAX_FLOWINFO = 0xFFFFF
_MAX_SCOPE = 0xFFFFFFFF


async def getnameinfo(inside: Inside, sockaddr: tuple[object, ...], flags: int) -> tuple[str, str]:
    """Find the names of a host and a service.

    Raises:
        socket.gaierror: as in the socket module: EAI_AGAIN if no name server answers, EAI_NONAME with NI_NAMEREQD if
            the address has no name.
        OSError: the broker fails.
    """
    address, port = await _read(inside, sockaddr)
    if flags & ~_KNOWN:
        raise gaierror(EAI_BADFLAGS)
    host = "" if flags & socket.NI_NUMERICHOST else await _find_name(inside, address, flags)
    if not host:
        if flags & socket.NI_NAMEREQD:
            raise gaierror(EAI_NONAME)
        host = await _with_scope(inside, address)
    if flags & socket.NI_NUMERICSERV:
        return host, str(port)
    return host, _service_name(port, flags, (await inside.configuration()).service_of)


async def _read(inside: Inside, sockaddr: tuple[object, ...]) -> tuple[Address, int]:
    if not isinstance(sockaddr, tuple):
        raise TypeError("getnameinfo() argument 1 must be a tuple")
    if not 2 <= len(sockaddr) <= 4 or not isinstance(sockaddr[0], str) or not isinstance(sockaddr[1], int):
        raise TypeError("getnameinfo(): illegal sockaddr argument")
    flowinfo, scope = (*sockaddr[2:], 0, 0)[:2]
    if not isinstance(flowinfo, int) or not isinstance(scope, int):
        raise TypeError("getnameinfo(): illegal sockaddr argument")
    if not 0 <= flowinfo <= _MAX_FLOWINFO:
        raise OverflowError("getnameinfo(): flowinfo must be 0-1048575.")
    address = await numeric(inside, encode_host(sockaddr[0]) or "", 0, v4_mapped=False)
    if address is None:
        raise gaierror(EAI_NONAME)
    port = services(str(sockaddr[1]), socket.SOCK_DGRAM, 0, numeric_only=False, by_name=no_name)[0].port
    if address.family == AF_INET:
        if len(sockaddr) != 2:
            raise OSError("IPv4 sockaddr must be 2 tuple")
        return address, port
    return address._replace(scope=scope & _MAX_SCOPE), port


async def _find_name(inside: Inside, address: Address, flags: int) -> str:
    """Return the name of an address from the namespace's hosts file or from DNS, or "" if it has no name."""
    try:
        name = (await find_by_address(inside, address.family, address.host)).canonical
    except socket.gaierror as error:
        if error.errno in (EAI_NONAME, EAI_NODATA) or isinstance(error, NoRecoveryError):
            return ""
        raise
    if flags & socket.NI_NOFQDN:
        domain = await _own_domain(inside)
        start = name.find(domain) if domain else 0
        if start > 1 and name[start - 1] == ".":
            return name[: start - 1]
    return name


async def _own_domain(inside: Inside) -> str:
    """Return the domain of this machine in the namespace. Source: nrl_domainname_core in glibc's getnameinfo.c."""
    hostname = socket.gethostname()
    for find, host in ((find_by_name, "localhost"), (find_by_name, hostname), (find_by_address, "127.0.0.1")):
        try:
            name = (await find(inside, AF_INET, host)).canonical
        except socket.gaierror:
            name = ""
        if domain := name.partition(".")[2] or hostname.partition(".")[2]:
            return domain
    return ""


async def _with_scope(inside: Inside, address: Address) -> str:
    if not address.scope:
        return address.host
    interface = await inside.name_interface(address.scope) if is_link_local(_packed(address)) else ""
    return f"{address.host}%{interface or address.scope}"


def _service_name(port: int, flags: int, by_port: Callable[..., str]) -> str:
    try:
        return by_port(port, "udp" if flags & socket.NI_DGRAM else "tcp")
    except OSError:
        return str(port)


def _packed(address: Address) -> bytes:
    return socket.inet_pton(address.family, address.host)
