"""resolv.conf(5): the settings in the file. Lines that are not valid are ignored, as glibc ignores them."""

from __future__ import annotations

import re
import socket

from ...wire.record import Record

MAX_SERVERS = 3
"""Name servers after the third are not used. Source: MAXNS in glibc's <resolv.h>."""
_MAX_NDOTS = 15
_MAX_TIMEOUT_S = 30
_MAX_ATTEMPTS = 5

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
    """The contents of a resolv.conf. `timeout_s` is for one try, and each server gets `attempts` tries."""

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


_RANGES = {
    "ndots": ("ndots", 0, _MAX_NDOTS),
    "timeout": ("timeout_s", 1, _MAX_TIMEOUT_S),
    "attempts": ("attempts", 1, _MAX_ATTEMPTS),
}
_SWITCHES = {
    "rotate": "rotate",
    "use-vc": "use_vc",
    "no-aaaa": "no_aaaa",
    "edns0": "edns0",
    "single-request": "single_request",
    # Each question has its own socket in both cases.
    "single-request-reopen": "single_request",
    "trust-ad": "trust_ad",
    "no-tld-query": "no_tld_query",
    "no_tld_query": "no_tld_query",
}


def parse(text: str, hostname: str = "") -> Settings:
    """Read a resolv.conf.

    Args:
        text: the file's contents, which may be any text.
        hostname: this machine's name. Its domain is searched if the file names no domain.

    Source: resolv.conf(5), and res_vinit_1 in glibc's resolv/res_init.c.
    """
    servers: list[NameServer] = []
    search = tuple(hostname.partition(".")[2].split())
    options: dict[str, int] = {}
    for line in text.split("\n"):
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        rest = rest.strip(_WHITE + "\r")
        if keyword == "nameserver":
            servers.extend(_servers(rest))
        elif keyword in ("search", "domain") and rest:
            search = tuple(rest.split()[: None if keyword == "search" else 1])
        elif keyword == "options":
            options.update(_options(rest))
    settings = Settings(search=search, **options)  # type: ignore[arg-type]  # the switches are bool, as _options returns them
    return settings._replace(servers=tuple(servers[:MAX_SERVERS])) if servers else settings


def _servers(text: str) -> list[NameServer]:
    """Return the server of a line in a list, which is empty if the line is not valid."""
    address = re.split(r"[;#\s]", text, maxsplit=1)[0]
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
        if name in _RANGES:
            field, least, most = _RANGES[name]
            options[field] = min(max(_atoi(value), least), most)
        elif word in _SWITCHES:
            options[_SWITCHES[word]] = True
    return options


def _atoi(text: str) -> int:
    """Read a number as atoi(3) does, with 0 for other text. Nine digits are more than the ranges above need."""
    number = re.match(r"[+-]?[0-9]{1,9}", text)
    return int(number[0]) if number else 0
