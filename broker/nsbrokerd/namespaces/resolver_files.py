"""The files by which host names are looked up in a namespace, and the name servers that they name.

The files of /etc/netns/NAME come first, as for `ip netns exec`. A client may be unable to read these files. In a
container, it may have other files at these paths. The broker only hands out the texts: it looks up no name itself.
Source: ip-netns(8), resolv.conf(5), hosts(5), gai.conf(5), host.conf(5), nsswitch.conf(5).
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import re
import socket
from collections.abc import Callable, Generator, Iterable
from functools import cache

from nsbroker.wire import ResolverFiles

from .netns import list_names

MAX_FILE_BYTES = 2**20
"""A larger file is refused."""

_PART_BYTES = 2**16
"""A file is read in parts, and other clients are served in between."""

_FURTHER_FILES = ("gai.conf", "host.conf", "nsswitch.conf")
_LISTS_OF_NUMBERS = ("services", "protocols")
"""Only those of /etc/netns are handed out. A client reads the system's itself, and they can be long."""

_MAX_SERVERS = 3
"""MAXNS of glibc. The client library has the same bound, so neither asks a fourth server."""

_IPV4_CHARACTERS = frozenset("0123456789abcdefABCDEFxX.")

_Decoder = codecs.getincrementaldecoder("utf-8")

_DEFAULT_SERVER = "127.0.0.1"
"""The server if a file names none. Source: resolv.conf(5)."""


def read_resolver_files(names: Iterable[str], etc: str = "/etc") -> ResolverFiles:
    """Read the files at once. Arguments, result and errors are those of `read_in_steps`."""
    steps = read_in_steps(names, etc)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            files: ResolverFiles = end.value
            return files


def read_in_steps(names: Iterable[str], etc: str = "/etc") -> Generator[None, None, ResolverFiles]:
    """Read the files: each for the first of the names that has this file, otherwise the system's. It yields often.

    A resolv.conf or hosts that does not exist is empty. Without a resolv.conf, the client asks the name server on the
    namespace's own loopback.

    Args:
        names: checked names of the namespace. Special ones such as "@host" have no files.
        etc: the directory of the files.

    Raises:
        OSError: a file can't be read, or is larger than MAX_FILE_BYTES (EFBIG).
    """
    own = [f"{etc}/netns/{name}" for name in names if not name.startswith("@")]
    directories = [*own, etc]
    resolv_conf, origin = yield from _read_first("resolv.conf", directories)
    hosts, _ = yield from _read_first("hosts", directories)
    files: dict[str, str] = {}
    for further, places in ((_FURTHER_FILES, directories), (_LISTS_OF_NUMBERS, own)):
        for name in further:
            text, path = yield from _read_first(name, places)
            if path:
                files[name] = text
    return ResolverFiles(resolv_conf, hosts, origin or f"{etc}/resolv.conf", files)


def _read_first(name: str, directories: list[str]) -> Generator[None, None, tuple[str, str]]:
    """Return the text and the path of the first file of this name. Both are empty if there is no such file."""
    for path in [f"{directory}/{name}" for directory in directories]:
        try:
            # As bytes: names are UTF-8 here in every locale.
            fd = os.open(path.encode(), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            text = yield from _read(fd)
        finally:
            os.close(fd)
        if text is None:
            raise OSError(errno.EFBIG, f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return text, path
    return "", ""


def _read(fd: int) -> Generator[None, None, str | None]:
    """Read a file. Return None if it is larger than MAX_FILE_BYTES.

    Raises:
        OSError: it is a directory (EISDIR), or a pipe that is empty (EAGAIN).
    """
    decoder = _Decoder(errors="replace")
    texts: list[str] = []
    length = 0
    while part := os.read(fd, _PART_BYTES):
        length += len(part)
        if length > MAX_FILE_BYTES:
            return None
        texts.append(decoder.decode(part))
        yield
    return "".join(texts) + decoder.decode(b"", final=True)


class NameServers:
    """The servers that the files name now. Each file is read once, however many grants need it."""

    def __init__(self, etc: str = "/etc") -> None:
        self._etc = etc
        self._servers_for = cache(self._read)
        self._names: list[str] = []
        with contextlib.suppress(OSError):
            self._names = sorted(list_names(f"{etc}/netns"))

    def for_namespaces(self, covers: Callable[[str], bool]) -> list[str]:
        """List the servers of the system's file and of the files of covered namespaces, each server once."""
        names = ["", *filter(covers, self._names)]
        return list(dict.fromkeys(server for name in names for server in self._servers_for(name)))

    def _read(self, name: str) -> list[str]:
        """List the servers of one namespace. "" is one without files. A file that can't be read names no server."""
        try:
            return _servers_of(read_resolver_files([name] if name else [], self._etc).resolv_conf)
        except OSError:
            return []


def _servers_of(resolv_conf: str) -> list[str]:
    """List the servers that the client asks. Source: `_servers` in nsbroker/names/files/resolv_conf.py."""
    servers = []
    for line in resolv_conf.split("\n"):
        keyword, _, rest = line.replace("\t", " ").partition(" ")
        if keyword == "nameserver" and (server := _numeric(re.split(r"[ \r]", rest.strip(" \r"), maxsplit=1)[0])):
            servers.append(server)
    return servers[:_MAX_SERVERS] or [_DEFAULT_SERVER]


def _numeric(text: str) -> str | None:
    """Return the address in the kernel's form, without a scope. IPv4 may have any form that inet_aton(3) reads."""
    try:
        if text and _IPV4_CHARACTERS.issuperset(text):
            return socket.inet_ntoa(socket.inet_aton(text))
        return socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, text.partition("%")[0]))
    except (OSError, ValueError):
        return None
