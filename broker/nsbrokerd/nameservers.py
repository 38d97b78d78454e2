"""The name servers that sealed sockets may reach: those of the files by which their namespaces' names are looked up."""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable

from .resolver import read_resolver_files

_MAX_SERVERS = 3
"""MAXNS of glibc, and of the client: those past the third are not asked."""

_DEFAULT = "127.0.0.1"
"""Who is asked when a file names none. Source: resolv.conf(5)."""


def name_servers(covers: Callable[[str], bool], etc: str = "/etc") -> list[str]:
    """List the servers of the system's file, and of those of /etc/netns whose namespaces are covered; each once.

    What can't be read names nobody: nor can the client look up names by it.
    """
    found: dict[str, None] = {}
    names = [""]
    with contextlib.suppress(OSError):
        names += sorted(filter(covers, os.listdir(f"{etc}/netns")))
    for name in names:
        with contextlib.suppress(OSError):
            found |= dict.fromkeys(_servers_of(read_resolver_files([name] if name else [], etc).resolv_conf))
    return list(found)


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
