"""resolv.conf(5): the settings in the file, and in the environment, which overrides it.

Lines that are not valid are ignored, as glibc ignores them.
"""

from __future__ import annotations

import re
import socket

from ...wire.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SERVERS = 3
"""Name servers after the third are not used. Source: MAXNS in glibc's <resolv.h>."""
_MAX_NDOTS = 15
_MAX_TIMEOUT_S = 30
_MAX_ATTEMPTS = 5
_MAX_NETWORKS = 10
"""Networks of `sortlist` after these are not used. Source: MAXRESOLVSORT in glibc's <resolv.h>."""

_WHITE = " \t"
_IPV4_CHARACTERS = frozenset("0123456789abcdefABCDEFxX.")


class NameServer(Record):
    """A name server. `scope` is the part after the "%" of an IPv6 address: an interface, or its index."""

    family: int
    address: str
    scope: str = ""

    def __str__(self) -> str:
        return f"{self.address}%{self.scope}" if self.scope else self.address


class Settings(Record):
    """The contents of a resolv.conf.

    `timeout_s` is for one try, and each server gets `attempts` tries. `sortlist` has (address, mask) of the networks
    that come first.
    """

    servers: tuple[NameServer, ...] = (NameServer(int(socket.AF_INET), "127.0.0.1"),)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_s: int = 5
    attempts: int = 2
    rotate: bool = False
    use_vc: bool = False
    no_aaaa: bool = False
    edns0: bool = False
    single_request: bool = False
    trust_ad: bool = False
    no_tld_query: bool = False
    sortlist: tuple[tuple[int, int], ...] = ()


_RANGES = {
    "ndots": ("ndots", 0, _MAX_NDOTS),
    "timeout": ("timeout_s", 1, _MAX_TIMEOUT_S),
    "attempts": ("attempts", 0, _MAX_ATTEMPTS),
}
_SWITCHES = {
    "rotate": "rotate",
    "use-vc": "use_vc",
    "no-aaaa": "no_aaaa",
    "edns0": "edns0",
    # Also for single-request-reopen: each question has its own socket in both cases.
    "single-request": "single_request",
    "trust-ad": "trust_ad",
    "no-tld-query": "no_tld_query",
    "no_tld_query": "no_tld_query",
}
"""Options by the text with which they begin: glibc does not look at the rest of the word."""


def parse(text: str, hostname: str = "", environment: Mapping[str, str] | None = None) -> Settings:
    """Read a resolv.conf.

    Args:
        text: the file's contents, which may be any text.
        hostname: this machine's name. Its domain is searched if no domain is named.
        environment: LOCALDOMAIN replaces the domains of the file, and RES_OPTIONS adds options.

    Source: resolv.conf(5), and res_vinit_1 in glibc's resolv/res_init.c.
    """
    variables = environment or {}
    servers: list[NameServer] = []
    search: tuple[str, ...] = ()
    sortlist: list[tuple[int, int]] = []
    options: dict[str, int] = {}
    for line in text.split("\n"):
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        rest = rest.strip(_WHITE + "\r")
        if keyword == "nameserver":
            servers.extend(_servers(rest))
        elif keyword in ("search", "domain") and rest:
            search = tuple(rest.split()[: None if keyword == "search" else 1])
        elif keyword == "sortlist":
            sortlist += _networks(rest)
        elif keyword == "options":
            options.update(_options(rest))
    if "LOCALDOMAIN" in variables:
        search = _local_domains(variables["LOCALDOMAIN"])
    elif not search and "." in hostname:
        search = (hostname.partition(".")[2],)
    options.update(_options(variables.get("RES_OPTIONS", "")))
    settings = Settings(search=search, sortlist=tuple(sortlist[:_MAX_NETWORKS]), **options)  # type: ignore[arg-type]  # the switches are bool, as _options returns them
    return settings._replace(servers=tuple(servers[:MAX_SERVERS])) if servers else settings


def _servers(text: str) -> list[NameServer]:
    """Return the server of a line in a list, which is empty if the line is not valid."""
    address = re.split(r"[ \t\r]", text, maxsplit=1)[0]
    if address and _IPV4_CHARACTERS.issuperset(address):
        try:
            return [NameServer(int(socket.AF_INET), socket.inet_ntoa(socket.inet_aton(address)))]
        except OSError:
            return []
    address, _, scope = address.partition("%")
    try:
        packed = socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return []
    return [NameServer(int(socket.AF_INET6), socket.inet_ntop(socket.AF_INET6, packed), scope)]


def _options(text: str) -> dict[str, int]:
    options: dict[str, int] = {}
    for word in text.split():
        name, _, value = word.partition(":")
        if name in _RANGES and ":" in word:
            field, least, most = _RANGES[name]
            number = min(_atoi(value), most)
            # glibc keeps ndots in four bits, so -1 is 15.
            options[field] = number & _MAX_NDOTS if field == "ndots" else max(number, least)
        else:
            options |= {field: True for start, field in _SWITCHES.items() if word.startswith(start)}
    return options


def _local_domains(text: str) -> tuple[str, ...]:
    """Split LOCALDOMAIN at its blanks. A text that begins with a blank, or is empty, begins with the root domain."""
    first, *others = re.split(r"[ \t]+", text.partition("\n")[0])
    return (first, *(domain for domain in others if domain))


def _networks(text: str) -> list[tuple[int, int]]:
    """Return (address, mask) for each network of a line. Without a mask, the network has that of its class."""
    found = []
    for word in text.partition(";")[0].split():
        network, _, mask = re.sub("&", "/", word).partition("/")
        address = _ipv4(network)
        if address is not None:
            found.append((address, _class_mask(address) if (given := _ipv4(mask)) is None else given))
    return found


def _ipv4(text: str) -> int | None:
    if not text or not _IPV4_CHARACTERS.issuperset(text):
        return None
    try:
        return int.from_bytes(socket.inet_aton(text), "big")
    except OSError:
        return None


def _class_mask(address: int) -> int:
    return 0xFF000000 if address < 1 << 31 else 0xFFFF0000 if address < 3 << 30 else 0xFFFFFF00


def _atoi(text: str) -> int:
    """Read a number as atoi(3) does, with 0 for other text. Nine digits are more than the ranges above need."""
    number = re.match(r"[+-]?[0-9]{1,9}", text)
    return int(number[0]) if number else 0
