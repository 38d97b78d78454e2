"""The host of a name or of an address, from the sources of nsswitch.conf: the hosts file and DNS.

Other sources, such as mDNS and LDAP, are passed over as if they were not installed: they would ask services in the
caller's own namespace.
Source: get_nss_addresses in glibc's sysdeps/posix/getaddrinfo.c, and nss/getXXbyYY_r.c.
"""

from __future__ import annotations

import socket

from .errors import EAI_AGAIN, EAI_NODATA, EAI_NONAME, NoRecoveryError, gaierror
from .files.nsswitch import NOTFOUND, SUCCESS, TRYAGAIN, UNAVAIL
from .host import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..link.waiting import Waiting
    from .files.configuration import Configuration
    from .inside import Inside

    AskFor = Callable[[int], Awaitable[Host]]
    """Asks one source for the host with addresses of a family."""

AF_INET = int(socket.AF_INET)
AF_INET6 = int(socket.AF_INET6)

_LOOPBACK = {AF_INET6: "::1", AF_INET: "127.0.0.1"}
_DIGITS_AND_DOTS = frozenset("0123456789.")
_MAPPED_PREFIX = bytes(10) + b"\xff\xff"
_COMPATIBLE_PREFIX = bytes(12)


def find_by_name(inside: Inside, family: int, name: str) -> Waiting[Host]:
    """Find the host of an ASCII name, with addresses of a family, or of both if it is 0.

    Raises:
        socket.gaierror: EAI_NONAME: there is no such name. EAI_NODATA: it has no such address. EAI_AGAIN: no server
            answered. EAI_FAIL: the policy grants no socket to ask by, or (as a NoRecoveryError) an answer is of no use.
        OSError: the broker fails.
    """
    return _by_name(inside, family, name, lambda ask_for: ask_for(family))


async def find_mapped(inside: Inside, name: str, *, keep_all: bool) -> Host:
    """Find the host of a name with its IPv6 addresses, and with IPv4 addresses if there are no others, or `keep_all`.

    Raises:
        socket.gaierror, OSError: as `find_by_name`.
    """

    async def ask(ask_for: AskFor) -> Host:
        hosts: list[Host] = []
        errors: list[socket.gaierror] = []
        for family in (AF_INET6, AF_INET):
            if not hosts or keep_all:
                try:
                    hosts.append(await ask_for(family))
                except socket.gaierror as error:
                    errors.append(error)
        if not hosts:
            codes = {error.errno for error in errors}
            raise gaierror(EAI_NODATA) if codes == {EAI_NODATA, EAI_AGAIN} else max(errors, key=_is_none)
        return hosts[0]._replace(addresses=tuple(address for host in hosts for address in host.addresses))

    return await _by_name(inside, AF_INET6, name, ask)


async def _by_name(inside: Inside, family: int, name: str, ask: Callable[[AskFor], Awaitable[Host]]) -> Host:
    """Find the host of a name in the sources. `ask` asks one of them for the families that it needs.

    A built-in name has the loopback addresses of `family`.
    """
    configuration = await inside.configuration()
    is_built_in = is_localhost(name) and name.removesuffix(".") not in configuration.hosts

    async def ask_files(family: int) -> Host:
        return _known(configuration.hosts.by_name(name, family))

    async def ask_dns(family: int) -> Host:
        if is_built_in:
            raise gaierror(EAI_NONAME)  # RFC 6761, section 6.3: name servers are not asked.
        from .dns.search import look_up

        return await look_up(inside, name, (family,) if family else (AF_INET, AF_INET6), configuration)

    try:
        return await _first(configuration, lambda: ask(ask_files), lambda: ask(ask_dns))
    except socket.gaierror:
        if not is_built_in:
            raise
    families = (family,) if family else (AF_INET6, AF_INET)
    return Host(name, (), tuple((each, _LOOPBACK[each]) for each in families))


async def find_by_address(inside: Inside, family: int, address: str) -> Host:
    """Find the host of an address in its usual form.

    Raises:
        socket.gaierror, OSError: as `find_by_name`.
    """
    if address == "::":
        raise gaierror(EAI_NONAME)
    configuration = await inside.configuration()

    async def ask_files() -> Host:
        return _known(configuration.hosts.by_address(family, address))

    async def ask_dns() -> Host:
        from .dns.search import look_up_address

        found_family, packed = _unmapped(family, socket.inet_pton(family, address))
        name = await look_up_address(inside, packed, configuration)
        return Host(name, (), ((found_family, socket.inet_ntop(found_family, packed)),))

    host = await _first(configuration, ask_files, ask_dns)
    trimmed = configuration.host_conf.trimmed
    return host._replace(canonical=trimmed(host.canonical), aliases=tuple(map(trimmed, host.aliases)))


async def reordered(inside: Inside, host: Host) -> Host:
    """Return a host whose first address is in a network of the namespace, if host.conf says `reorder on`."""
    if len(host.addresses) < 2 or not (await inside.configuration()).host_conf.reorder:
        return host
    networks = [(_number(address), 32 - bits) for address, bits in (await inside.find_ipv4_networks()).items()]
    addresses = list(host.addresses)
    for index, (_, address) in enumerate(addresses):
        if any((_number(address) ^ own) >> bits == 0 for own, bits in networks):
            addresses[0], addresses[index] = addresses[index], addresses[0]
            break
    return host._replace(addresses=tuple(addresses))


def is_localhost(name: str) -> bool:
    """Return whether a name is localhost, or below it. Source: RFC 6761, section 6.3."""
    name = name.lower().removesuffix(".")
    return name == "localhost" or name.endswith(".localhost")


def is_only_digits(name: str) -> bool:
    """Return whether the functions of gethostbyname(3) take a name for an address. Source: nss/digits_dots.c."""
    return _DIGITS_AND_DOTS.issuperset(name) and name[:1] not in ("", ".") and not name.endswith(".")


async def _first(
    configuration: Configuration, ask_files: Callable[[], Awaitable[Host]], ask_dns: Callable[[], Awaitable[Host]]
) -> Host:
    """Return the host of the source after which nsswitch.conf asks no other one, or raise its error."""
    host: Host | None = None
    failure: socket.gaierror | None = None
    for source in configuration.sources:
        status = UNAVAIL
        if ask := {"files": ask_files, "dns": ask_dns}.get(source.name):
            host = None
            try:
                host = await ask()
                status = SUCCESS
            except socket.gaierror as error:
                failure = error
                status = NOTFOUND if error.errno in (EAI_NONAME, EAI_NODATA) else UNAVAIL
                if isinstance(error, NoRecoveryError):
                    status = TRYAGAIN
        if status in source.last_after:
            break
    if host is None:
        raise failure or gaierror(EAI_NONAME)
    return host


def _is_none(error: socket.gaierror) -> bool:
    return error.errno not in (EAI_NODATA, EAI_AGAIN)


def _known(host: Host | None) -> Host:
    if host is None:
        raise gaierror(EAI_NONAME)
    return host


def _unmapped(family: int, packed: bytes) -> tuple[int, bytes]:
    """Return the IPv4 address in an IPv6 address, if there is one. Source: _nss_dns_gethostbyaddr2_r in dns-host.c."""
    is_compatible = packed.startswith(_COMPATIBLE_PREFIX) and packed[12:] != b"\0\0\0\1"
    if len(packed) == 16 and (packed.startswith(_MAPPED_PREFIX) or is_compatible):
        return AF_INET, packed[12:]
    return family, packed


def _number(ipv4: str) -> int:
    return int.from_bytes(socket.inet_aton(ipv4), "big")
