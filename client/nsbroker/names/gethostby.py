"""gethostbyname(3) and gethostbyaddr(3) inside a namespace.

Arguments, results and errors are those of the socket module.
"""

from __future__ import annotations

import errno
import os
import socket

from .errors import EAI_NODATA, EAI_NONAME, NoRecoveryError, gaierror, herror
from .getaddrinfo import encode_host, getaddrinfo, numeric
from .numeric import ipv4_address
from .sources import find_by_address, find_by_name, is_only_digits, reordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .host import Host
    from .inside import Inside

AF_INET = int(socket.AF_INET)
_BROADCAST = "255.255.255.255"


async def gethostbyname(inside: Inside, name: object) -> str:
    """Return the first IPv4 address of a host."""
    return (await _address(inside, _encode(name, "gethostbyname"), AF_INET))[1]


async def gethostbyname_ex(inside: Inside, hostname: object) -> tuple[str, list[str], list[str]]:
    """Return the canonical name of a host, its aliases, and its IPv4 addresses in the order of their source."""
    name = _encode(hostname, "gethostbyname_ex")
    # The socket module looks the name up twice. The first time, it takes more for addresses than the second time.
    is_address = name in ("", "<broadcast>", _BROADCAST) or await numeric(inside, name, AF_INET, v4_mapped=False)
    if is_only_digits(name) and (address := ipv4_address(name)):
        return name, [], [address]
    try:
        if is_only_digits(name):
            raise gaierror(EAI_NONAME)
        host = await reordered(inside, await find_by_name(inside, AF_INET, name))
    except socket.gaierror as error:
        if is_address:
            raise herror(error) from error
        if isinstance(error, NoRecoveryError):
            raise gaierror(EAI_NODATA) from error
        raise
    return _as_tuple(host)


async def gethostbyaddr(inside: Inside, name: object) -> tuple[str, list[str], list[str]]:
    """Return the canonical name of the host that has an address, its aliases, and the address."""
    family, address = await _address(inside, _encode(name, "gethostbyaddr"), 0)
    try:
        host = await find_by_address(inside, family, address)
    except socket.gaierror as error:
        raise herror(error) from error
    if host.addresses[0][0] != family:
        raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
    return _as_tuple(host)


async def _address(inside: Inside, name: str, family: int) -> tuple[int, str]:
    """Return (family, address) of a host. Source: setipaddr in CPython's Modules/socketmodule.c."""
    if name == "":
        if family == 0:
            raise OSError("wildcard resolved to multiple address")
        return AF_INET, "0.0.0.0"
    if name in ("<broadcast>", _BROADCAST):
        return AF_INET, _BROADCAST
    found, *_ = await getaddrinfo(inside, name.encode(errors="surrogateescape"), None, family)
    return int(found[0]), str(found[4][0])


def _as_tuple(host: Host) -> tuple[str, list[str], list[str]]:
    return host.canonical, list(host.aliases), [address for _, address in host.addresses]


def _encode(name: object, function: str) -> str:
    """Return the argument of a function of the socket module in ASCII.

    Raises:
        TypeError: it is not text, or has a NUL.
        HostEncodingError: it can't be a name.
    """
    if not isinstance(name, str | bytes | bytearray):
        kind = "None" if name is None else type(name).__name__
        raise TypeError(f"{function}() argument 1 must be str, bytes or bytearray, not {kind}")
    if ("\0" if isinstance(name, str) else 0) in name:
        kind = type(name).__name__
        raise TypeError(f"{function}() argument 1 must be encoded string without null bytes, not {kind}")
    return encode_host(name if isinstance(name, str) else bytes(name), star_is_any=False) or ""
