"""The search of a name in DNS: which names are tried in which order, and the meaning of the answers.

Source: __res_context_search in glibc's resolv/res_query.c.
"""

from __future__ import annotations

import re
import socket

from ...link.references import is_container
from ..errors import EAI_AGAIN, EAI_FAIL, EAI_NODATA, EAI_NONAME, NoRecoveryError, gaierror
from ..files.own_file import read_own_file
from ..host import Host
from .messages import AAAA, PTR, A, is_host_name
from .questions import SILENT
from .servers import Servers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ..files.configuration import Configuration
    from ..files.resolv_conf import NameServer, Settings
    from ..inside import Inside
    from .servers import Verdict

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_RECORD_TYPES = {int(socket.AF_INET): A, int(socket.AF_INET6): AAAA}
_FAMILIES = {record_type: family for family, record_type in _RECORD_TYPES.items()}
_UNUSABLE = "the answer has no record that can be used"
_MOST_SORTED = 48
"""Addresses that `sortlist` sorts. Source: MAX_NR_ADDRS in glibc's resolv/nss_dns/dns-host.c."""
_OWN_FILES = "/etc/netns/"
"""A resolv.conf below this belongs to one namespace. Source: ip-netns(8)."""


async def look_up(inside: Inside, name: str, families: Sequence[int], configuration: Configuration) -> Host:
    """Look up the addresses of an ASCII name with the search list. The aliases are those of the first family.

    Raises:
        socket.gaierror: EAI_NONAME: there is no such name. EAI_NODATA: it has no such address. EAI_AGAIN: no server
            answered. EAI_FAIL: the policy grants no socket to ask by, or (as a NoRecoveryError) an answer is of no use.
        OSError: the broker fails.
    """
    settings = configuration.settings
    if not is_host_name(name):
        raise gaierror(EAI_NONAME)
    if "." not in name and configuration.aliases_file:
        name = alias_of(name, configuration.aliases_file)
    wanted = [each for each in map(_RECORD_TYPES.__getitem__, families) if not (settings.no_aaaa and each == AAAA)]
    # If no-aaaa leaves no type, glibc still finds out whether there is such a name.
    servers = Servers(inside, settings, hides_records=not wanted)
    verdict = await _search(servers, name, wanted or [A], settings)
    if verdict is None:
        raise gaierror(EAI_NONAME)
    answers = [answer for each in wanted if (answer := verdict.answers.get(each)) and answer.records]
    if not answers:
        if verdict.is_final:
            raise gaierror(EAI_NONAME) if len(families) > 1 else NoRecoveryError(EAI_FAIL, _UNUSABLE)
        raise _why_not(verdict, servers, configuration)
    first = answers[0]
    found = tuple((_FAMILIES[answer.record_type], record) for answer in answers for record in answer.records)
    if len(families) == 1 and settings.sortlist:
        sort, rest = found[:_MOST_SORTED], found[_MOST_SORTED:]
        found = (*sorted(sort, key=lambda address: _network_number(address, settings)), *rest)
    return Host(first.canonical, first.aliases, found)


async def look_up_address(inside: Inside, packed: bytes, configuration: Configuration) -> str:
    """Look up the name of an address, which is given as inet_pton(3) packs it.

    Raises:
        socket.gaierror, OSError: as `look_up`.
    """
    servers = Servers(inside, configuration.settings)
    verdict = await servers.ask(reverse_name(packed), [PTR])
    if verdict.found and is_host_name(name := verdict.answers[PTR].records[0]):
        return name
    raise NoRecoveryError(EAI_FAIL, _UNUSABLE) if verdict.is_final else _why_not(verdict, servers, configuration)


def reverse_name(packed: bytes) -> str:
    """Return the name under which DNS has the name of an address."""
    if len(packed) == 4:
        return ".".join(str(byte) for byte in reversed(packed)) + ".in-addr.arpa"
    return ".".join(reversed(packed.hex())) + ".ip6.arpa"


def is_name(name: str) -> bool:
    """Return whether DNS can have an absolute name, which is given without its final dot."""
    labels = name.split(".") if name else []
    return name.isascii() and len(name) <= _LONGEST_NAME and all(1 <= len(label) <= _LONGEST_LABEL for label in labels)


def alias_of(name: str, path: str) -> str:
    """Return the name that a user's file has for a name without dots, or the name itself.

    Source: hostname(7), and resolv/res_context_hostalias.c in glibc.
    """
    for line in read_own_file(path).splitlines(keepends=True):
        match = re.match(r"(\S*)\s+(\S*)", line)
        if match and match[1].lower() == name.lower():
            return match[2] or name
    return name


def _network_number(address: tuple[int, str], settings: Settings) -> int:
    """Return the number of the first network of `sortlist` that has an IPv4 address."""
    number = int.from_bytes(socket.inet_pton(*address), "big")
    found = (index for index, (network, mask) in enumerate(settings.sortlist) if number & mask == network)
    return next(found, len(settings.sortlist)) if address[0] == socket.AF_INET else 0


async def _search(servers: Servers, name: str, record_types: Sequence[int], settings: Settings) -> Verdict | None:
    """Try a name as it is and with the search list, in glibc's order, or return `None` if no name can be tried."""
    bare = name.removesuffix(".")
    dots = name.count(".")
    if name.endswith(".") or dots >= settings.ndots:
        as_is = await _ask(servers, bare, record_types)
        if as_is is None or name.endswith(".") or _is_last(as_is):
            return as_is
        found = await _search_list(servers, bare, record_types, settings.search)
        return found if found and found.is_final else as_is
    searched = await _search_list(servers, bare, record_types, settings.search)
    has_root = any(domain in ("", ".") for domain in settings.search)
    skips_bare = has_root or (settings.no_tld_query and not dots and searched is not None)
    if searched is not None and (skips_bare or _is_last(searched)):
        return searched
    as_is = await _ask(servers, bare, record_types)
    if as_is is None or as_is.is_final or searched is None:
        return as_is or searched
    return searched if searched.exists or searched.silence else as_is


async def _search_list(
    servers: Servers, bare: str, record_types: Sequence[int], search: Iterable[str]
) -> Verdict | None:
    """Try a name in each domain of the search list. Without success, return the verdict with the most hope."""
    best: Verdict | None = None
    for domain in search:
        verdict = await _ask(servers, f"{bare}.{domain.removeprefix('.')}".removesuffix("."), record_types)
        if verdict is None:
            break
        if _is_last(verdict):
            return verdict
        best = max(best or verdict, verdict, key=_hope)
        # A server that says SERVFAIL for one domain may know the next one.
        if verdict.silence == "silent":
            break
    return best


def _hope(verdict: Verdict) -> int:
    return 2 if verdict.exists else 1 if verdict.silence else 0


def _is_last(verdict: Verdict) -> bool:
    """Return whether further questions are useless: there is an answer, or no server is there at all."""
    return verdict.is_final or verdict.silence == "absent"


async def _ask(servers: Servers, name: str, record_types: Sequence[int]) -> Verdict | None:
    return await servers.ask(name, record_types) if is_name(name) else None


def _why_not(verdict: Verdict, servers: Servers, configuration: Configuration) -> socket.gaierror:
    if verdict.silence:
        return _no_answer(configuration, servers.complaints)
    return gaierror(EAI_NODATA if verdict.exists else EAI_NONAME)


def _no_answer(configuration: Configuration, complaints: Mapping[NameServer, str]) -> socket.gaierror:
    """Return the exception for a look-up that no name server answered, with the complaint about each server."""
    stubs = [server for server, complaint in complaints.items() if _is_loopback(server) and complaint != SILENT]
    if stubs and len(stubs) == len(complaints):
        return gaierror(EAI_AGAIN, _unreachable_stub(stubs[0], configuration))
    error = gaierror(EAI_AGAIN)
    for server, complaint in complaints.items():
        error.add_note(f"name server {server} of {configuration.origin}: {complaint}")
    return error


def _unreachable_stub(server: NameServer, configuration: Configuration) -> str:
    where = f"namespace {configuration.namespace}" if configuration.namespace else "the namespace"
    named = f"the name server {server} of {configuration.origin}"
    is_own = configuration.origin.startswith(_OWN_FILES) or is_container(configuration.namespace)
    if is_own or configuration.namespace == "@host":
        return f"{named} can't be reached: {where} has none at this address"
    own = f"{_OWN_FILES}{configuration.namespace or 'NAME'}/resolv.conf"
    return f"{named} is the host's own stub, which {where} can't reach: give the namespace its own in {own}"


def _is_loopback(server: NameServer) -> bool:
    """Return whether a server has a loopback address, which each namespace has for itself."""
    return server.address == "::1" or (server.family == socket.AF_INET and server.address.startswith("127."))
