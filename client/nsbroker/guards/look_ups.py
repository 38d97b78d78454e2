"""`LookUpGuard`: also refuses code that looks up names by the C library, or reads its files.

The C library knows only the program's own namespace. The socket module calls it for every host that is not numeric,
also in the methods of a socket.
"""

from __future__ import annotations

import errno
import os
import socket
from functools import lru_cache

from ..names.numeric import NameGivenError
from . import plain_sockets
from .guard import Guard
from .libraries import calling_library, calls_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .audit import Handlers

_INET = (socket.AF_INET, socket.AF_INET6)

RESOLV_CONF = "/etc/resolv.conf"
HOSTS = "/etc/hosts"
FILES = {path: name for name in (RESOLV_CONF, HOSTS) for path in (name, os.path.realpath(name))}
"""The files of the C library's resolver. The second path is that of systemd-resolved, for example."""


class LookUpGuard(Guard):
    """Refuses libraries in C and look-ups in C."""

    def handlers(self) -> Handlers:
        """Return the functions for audit events."""
        return {
            **super().handlers(),
            "open": self._on_open,
            "socket.getaddrinfo": self._on_name,
            "socket.gethostbyname": self._on_name,
            "socket.gethostbyaddr": self._on_address_to_name,
            "socket.getnameinfo": self._on_address_to_name,
        }

    def start(self) -> None:
        """Refuse libraries and look-ups from here on."""
        super().start()
        plain_sockets.watch(self.numeric)

    def stop(self) -> None:
        """End what `start` began."""
        if self.is_in_force:
            plain_sockets.unwatch(self.numeric)
        super().stop()

    def applies(self) -> bool:
        """Return whether the code that runs in this thread belongs to the namespace. A subclass may restrict it."""
        return True

    def _is_refused(self) -> bool:
        return self.applies() and not calls_for(self.allow)

    def _on_name(self, host: object, *_: object) -> None:
        if is_name(host) and self._is_refused():
            self._refuse_look_up(host)

    def _on_address_to_name(self, address: object) -> None:
        if self._is_refused():
            self._refuse_look_up(address)

    def numeric(self, sock: socket.socket, address: Any) -> Any:
        """Return the address that a socket may use. The socket module would look up a name in it."""
        if type(address) is tuple and address and is_name(address[0]) and sock.family in _INET and self._is_refused():
            self._refuse_look_up(address[0])
        return address

    def _on_open(self, path: object, mode: object, flags: int) -> None:
        if isinstance(path, int) or flags & os.O_ACCMODE != os.O_RDONLY:
            return
        if (name := resolver_file(path)) and self._is_refused():
            library = calling_library()
            raise PermissionError(errno.EACCES, self.text(library, f"{library} reads {name} by itself"))

    def _refuse_look_up(self, host: object) -> None:
        library = calling_library()
        raise NameGivenError(socket.EAI_NONAME, self.text(library, f"{library} looks up {host!r} by the C library"))


def resolver_file(path: object) -> str | None:
    """Return the usual path of the resolver's file that a path names, or `None` for any other path."""
    try:
        return FILES.get(os.fsdecode(path))  # type: ignore[arg-type]  # its own TypeError
    except TypeError:
        return None


def is_name(host: object) -> bool:
    """Return whether the socket module would look up a host: a name, or an address with the name of an interface."""
    if isinstance(host, bytes | bytearray):
        host = host.decode("ascii", "replace")
    return isinstance(host, str) and _is_name(host)


@lru_cache(1024)
def _is_name(host: str) -> bool:
    literal, _, scope = host.partition("%")
    if host in ("", "<broadcast>"):
        return False
    if scope and not scope.isdecimal():
        return True
    for is_numeric in (socket.inet_aton, lambda text: socket.inet_pton(socket.AF_INET6, text)):
        try:
            is_numeric(literal)
        except (OSError, ValueError):
            continue
        return False
    return True
