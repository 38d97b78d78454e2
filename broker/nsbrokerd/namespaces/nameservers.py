"""The name servers that sealed sockets may reach: those of the files by which their namespaces' names are looked up."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Callable
from functools import cache

from .netns import list_names
from .resolver_files import read_resolver_files

_MAX_SERVERS = 3
"""MAXNS of glibc, and of the client: those past the third are not asked."""

_DEFAULT = "127.0.0.1"
"""Who is asked when a file names none. Source: resolv.conf(5)."""


class NameServers:
    """The servers that the files name now: each file is read once, however many grants ask."""

    def __init__(self, etc: str = "/etc") -> None:
        self._etc = etc
        self._servers_for = cache(self._read)
        self._names: list[str] = []
        with contextlib.suppress(OSError):
            self._names = sorted(list_names(f"{etc}/netns"))

    def for_namespaces(self, covers: Callable[[str], bool]) -> list[str]:
        """List the servers of the system's file, and of those of the namespaces that are covered; each once."""
        names = ["", *filter(covers, self._names)]
        return list(dict.fromkeys(server for name in names for server in self._servers_for(name)))

    def _read(self, name: str) -> list[str]:
        """Give those for one namespace; "" is one without a file. A file that can't be read names nobody."""
        try:
            return _servers_of(read_resolver_files([name] if name else [], self._etc).resolv_conf)
        except OSError:
            return []


def _servers_of(resolv_conf: str) -> list[str]:
    servers = []
    for line in resolv_conf.split("\n"):
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        if keyword == "nameserver" and (server := _numeric(re.split(r"[;#%\s]", rest.strip(), maxsplit=1)[0])):
            servers.append(server)
    return servers[:_MAX_SERVERS] or [_DEFAULT]


def _numeric(text: str) -> str | None:
    """Give the address as the kernel knows it, without a scope; an IPv4 one may be written as inet_aton(3) reads it."""
    try:
        if ":" in text:
            return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text))
        return socket.inet_ntoa(socket.inet_aton(text))
    except OSError:
        return None
