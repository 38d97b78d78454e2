"""resolv.conf and the other files that a look-up reads beside hosts: any text gives settings within their bounds."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from typing import Any

from nsbroker.names.dns.servers import Servers
from nsbroker.names.files import configuration, gai_conf, host_conf, nsswitch, numbers, resolv_conf
from nsbroker.names.order import Source, preference
from nsbroker.wire import ResolverFiles
from nsbrokerd.namespaces import resolver_files

from ..questions import same_questions
from ..target import Target

MAX_SERVERS, MAX_SORTLIST, MAX_TRIMMED = 3, 10, 4
RANGES = {"ndots": (0, 15), "timeout_s": (1, 30), "attempts": (0, 5)}
"""Source: resolv.conf(5)."""

HOSTS = ("10.0.0.1", "192.0.2.1", "127.0.0.1", "fe80::1", "2001:db8::1", "::1", "::ffff:10.0.0.1")
SOURCES = [Source("10.0.0.2"), None, Source("127.0.0.1"), Source("fe80::2"), Source("2001:db8::2"), Source("::1"), None]


class Inside:
    """In place of the namespace: no name server is there. It looks at the address of each."""

    rotation = 1

    async def find_interface(self, name: str) -> int:
        return 7 if name == "eth0" else 0

    async def send(self, family: int, _: int, address: Any, *__: Any) -> None:
        host, port, *numbers = address
        socket.inet_pton(family, host)
        assert port == 53
        assert all(0 <= number < 2**32 for number in numbers), "no socket can connect to this address"
        raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def check(data: bytes) -> None:
    """Check one text as the contents of each file. The broker sends it with this replacement of bytes."""
    text = data.decode(errors="replace")
    check_settings(resolv_conf.parse(text, "host.example.org"))
    check_settings(resolv_conf.parse("", "host", {"RES_OPTIONS": text, "LOCALDOMAIN": text}))
    check_servers(text)
    assert len(host_conf.parse(text, {}).trim) <= MAX_TRIMMED
    for source in nsswitch.parse(text):
        assert source.name
    order = preference(HOSTS, SOURCES, gai_conf.parse(text))
    assert sorted(order) == list(range(len(HOSTS)))
    for name in ("http", text[:20]):
        check_number(numbers.Services(text).port_of, name)
        check_number(lambda name: numbers.protocol_number(text, name), name)
    names = ("gai.conf", "host.conf", "nsswitch.conf", "services", "protocols")
    configuration.parse(ResolverFiles(text, text, "/etc/resolv.conf", dict.fromkeys(names, text)), "blue", lambda: "h")


def check_settings(settings: resolv_conf.Settings) -> None:
    """Check the bounds of resolv.conf(5), and that a socket can use each server."""
    assert 1 <= len(settings.servers) <= MAX_SERVERS
    assert len(settings.sortlist) <= MAX_SORTLIST
    for field, (least, most) in RANGES.items():
        assert least <= getattr(settings, field) <= most
    for server in settings.servers:
        assert str(ipaddress.ip_address(server.address)) or server.family == socket.AF_INET6
        assert not set(server.scope) & set(" \t\n")
    try:
        with same_questions():
            Servers(Inside(), settings._replace(attempts=1)).ask("a", [1]).send(None)  # type: ignore[arg-type]  # a fake
    except StopIteration as stop:
        assert not stop.value.answers
    for domain in settings.search[1:]:
        assert domain
    for network, mask in settings.sortlist:
        assert 0 <= network < 2**32
        assert 0 <= mask < 2**32


def check_servers(text: str) -> None:
    """Check that the broker, which adds the name servers to limits, finds the servers that the client asks."""
    asked = [server.address for server in resolv_conf.parse(text).servers]
    known = resolver_files._servers_of(text)
    assert asked == known, f"the client asks {asked}, and the broker allows {known}"


def check_number(find: object, name: str) -> None:
    """Check that a service or protocol has a number, or is not found."""
    try:
        number = find(name)  # type: ignore[operator]  # a function of a name
    except OSError:
        return
    assert isinstance(number, int)
    assert number >= 0


WORDS = (
    "nameserver ", "search ", "domain ", "sortlist ", "options ", "ndots:", "timeout:", "attempts:", "rotate", "use-vc",
    "no-aaaa", "edns0", "single-request", "trust-ad", "no-tld-query", "127.0.0.1", "fe80::1%eth0", "::1", "%1", "0x7f",
    "/255.0.0.0", "&", "\n", "\t", "#", ";", "label ", "precedence ", "scopev4 ", "::ffff:0:0/96", "10.0.0.0/8", " 5",
    "multi on", "reorder off", "trim .a,.b", "hosts: files dns", "[NOTFOUND=return]", "[!UNAVAIL=continue]",
    "http 80/tcp", "udp 17 UDP", "\u0660", "\u00a0", "\x0b", "\x1c", "\u2028", "\r", "99999999999",
)  # fmt: skip
TARGET = Target(check, tuple(word.encode() for word in WORDS), max_bytes=1024)
