"""`Resolver`: the look-ups of one namespace, over its own sockets and files."""

from __future__ import annotations

import itertools
import os
from time import monotonic

from .files import configuration
from .getaddrinfo import getaddrinfo
from .gethostby import gethostbyaddr, gethostbyname, gethostbyname_ex
from .getnameinfo import getnameinfo
from .inside import Inside

KEEP_S = 2.0
"""Seconds until the files are read again: enough for the look-ups of one web page, and short for a user that edits
them."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any, Concatenate, ParamSpec, TypeVar

    from ..link.waiting import Waiting
    from ..wire.messages import ResolverFiles
    from .files.configuration import Configuration
    from .inside import OpenSocket
    from .numeric import AddressInfo

    P = ParamSpec("P")
    R = TypeVar("R")


class Resolver:
    """The look-ups of one namespace, for any number of threads and tasks.

    Args:
        open_socket: opens a non-blocking socket of a family and a type in the namespace.
        read_files: gets the namespace's files from the broker.
        namespace: the namespace's name for errors, or "".
        clock: returns seconds.
        environ: the environment, whose variables override the files.
    """

    def __init__(
        self,
        open_socket: OpenSocket,
        read_files: Callable[[], Awaitable[ResolverFiles]],
        namespace: str = "",
        clock: Callable[[], float] = monotonic,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._open_socket = open_socket
        self._read_files = read_files
        self._namespace = namespace
        self._clock = clock
        self._environ = environ
        self._rotation = itertools.count()
        # One tuple, so that another thread never sees a part of it.
        self._kept: tuple[float, object, Configuration] | None = None

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> Waiting[list[AddressInfo]]:
        """Find addresses as `socket.getaddrinfo` does, but in the namespace."""
        return self._ask(getaddrinfo, host, port, family, type, proto, flags)

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> Waiting[tuple[str, str]]:
        """Find names as `socket.getnameinfo` does, but in the namespace."""
        return self._ask(getnameinfo, sockaddr, flags)

    def gethostbyname(self, name: object) -> Waiting[str]:
        """Find an IPv4 address as `socket.gethostbyname` does, but in the namespace."""
        return self._ask(gethostbyname, name)

    def gethostbyname_ex(self, name: object) -> Waiting[tuple[str, list[str], list[str]]]:
        """Find names and IPv4 addresses as `socket.gethostbyname_ex` does, but in the namespace."""
        return self._ask(gethostbyname_ex, name)

    def gethostbyaddr(self, name: object) -> Waiting[tuple[str, list[str], list[str]]]:
        """Find the names of an address as `socket.gethostbyaddr` does, but in the namespace."""
        return self._ask(gethostbyaddr, name)

    async def _ask(
        self, function: Callable[Concatenate[Inside, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        inside = Inside(self._open_socket, self.configuration, next(self._rotation))
        try:
            return await function(inside, *args, **kwargs)
        finally:
            inside.close()

    async def configuration(self) -> Configuration:
        """Return the namespace's files, parsed. The broker is asked again after `KEEP_S` seconds."""
        kept = self._kept
        if kept and self._clock() < kept[0]:
            return kept[2]
        files = await self._read_files()
        variables = configuration.read_environment(self._environ)
        if kept and kept[1] == (files, variables):
            parsed = kept[2]
        else:
            parsed = configuration.parse(files, self._namespace, environment=variables)
        self._kept = (self._clock() + KEEP_S, (files, variables), parsed)
        return parsed
