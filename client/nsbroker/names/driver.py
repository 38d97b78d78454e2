"""The driver for programs that wait: runs plans over blocking calls, each with a deadline."""

from __future__ import annotations

import errno
import itertools
import socket
from time import monotonic

from ..errors import AccessDeniedError
from .actions import Ask, Configuration, Configure, FindFamilies, FindInterface, FindSources, NameInterface, Read
from .addrinfo import getaddrinfo
from .interfaces import by_family, find_interface, has_addresses, name_interface, source_addresses
from .literal import AF_INET, AF_INET6
from .nameinfo import getnameinfo
from .sources import Configurations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    from .actions import Action, SocketAddress, Steps
    from .addrinfo import AddressInfo
    from .sources import ResolverFiles

    T = TypeVar("T")
    OpenSocket: TypeAlias = Callable[[int, int], socket.socket]

_UDP, _TCP = int(socket.SOCK_DGRAM), int(socket.SOCK_STREAM)
_MOST_BYTES = 65535


class Resolver:
    """The look-ups of one namespace, for any number of threads.

    Args:
        open_socket: opens a socket of a family and a type in the namespace.
        read_files: gets the namespace's files from the broker.
        namespace: the namespace's name for errors, or "".
    """

    def __init__(self, open_socket: OpenSocket, read_files: Callable[[], ResolverFiles], namespace: str = "") -> None:
        self._open_socket = open_socket
        self._read_files = read_files
        self._configurations = Configurations(namespace)
        self._rotation = itertools.count()

    def getaddrinfo(
        self,
        host: str | bytes | None,
        port: int | str | bytes | None,
        family: int = 0,
        type: int = 0,  # noqa: A002  # the socket module's own name
        proto: int = 0,
        flags: int = 0,
    ) -> list[AddressInfo]:
        """Find addresses as `socket.getaddrinfo` does, but in the namespace; see `addrinfo`."""
        return self._run(getaddrinfo(host, port, family, type, proto, flags, next(self._rotation)))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        """Find names as `socket.getnameinfo` does, but in the namespace; see `nameinfo`."""
        return self._run(getnameinfo(sockaddr, flags, next(self._rotation)))

    def _run(self, plan: Steps[T]) -> T:
        driver = Driver(self._open_socket, self._configuration)
        try:
            return drive(plan, driver.perform)
        finally:
            driver.close()

    def _configuration(self) -> Configuration:
        return self._configurations.fresh() or self._configurations.store(self._read_files())


def drive(plan: Steps[T], perform: Callable[[Action], object]) -> T:
    """Run a plan to its end, and return its result or raise its error."""
    try:
        action = next(plan)
        while True:
            action = plan.send(perform(action))
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        plan.close()


class Driver:
    """Performs the actions of one plan; whoever makes it closes it."""

    def __init__(self, open_socket: OpenSocket, configuration: Callable[[], Configuration]) -> None:
        self._open_socket = open_socket
        self._configuration = configuration
        self._sock: socket.socket | None = None
        self._deadline = 0.0

    def close(self) -> None:
        """Close the socket of the last `Ask`."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def perform(self, action: Action) -> object:
        """Do what an action says; return what is sent back."""
        match action:
            case Ask():
                return self._ask(action)
            case Read():
                return self._read()
            case Configure():
                return self._configuration()
            case FindSources():
                return self._sources(action.destinations)
            case FindFamilies():
                return frozenset(family for family in (AF_INET, AF_INET6) if self._has(family))
            case FindInterface():
                with self._any_socket(AF_INET) as sock:
                    return find_interface(sock, action.name)
            case NameInterface():
                with self._any_socket(AF_INET) as sock:
                    return name_interface(sock, action.number)

    def _ask(self, ask: Ask) -> bytes | OSError:
        self.close()
        try:
            self._sock = sock = self._open_socket(ask.family, ask.type)
            self._deadline = monotonic() + ask.timeout_s
            self._in_time(sock).connect(ask.address)
            for packet in ask.packets:
                self._in_time(sock).sendall(packet)
        except OSError as error:
            return error
        return self._read()

    def _read(self) -> bytes | OSError:
        if self._sock is None:
            return TimeoutError()
        try:
            return self._in_time(self._sock).recv(_MOST_BYTES)
        except OSError as error:
            return error

    def _in_time(self, sock: socket.socket) -> socket.socket:
        """Let the socket's next call wait until the deadline."""
        left_s = self._deadline - monotonic()
        if left_s <= 0:
            raise TimeoutError
        sock.settimeout(left_s)
        return sock

    def _sources(self, destinations: tuple[SocketAddress, ...]) -> tuple[str | None, ...] | None:
        found: dict[SocketAddress, str | None] = {}
        for family, group in by_family(destinations).items():
            sources = self._sources_of(family, group)
            if sources is None:
                return None
            found.update(zip(group, sources, strict=True))
        return tuple(found[destination] for destination in destinations)

    def _sources_of(self, family: int, group: list[SocketAddress]) -> list[str | None] | None:
        if self._sock is not None and (self._sock.family, self._sock.type) == (family, _UDP):
            return source_addresses(self._sock, group)  # It saves the broker a request.
        try:
            with self._open_socket(family, _UDP) as sock:
                return source_addresses(sock, group)
        except AccessDeniedError:
            return None
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return [None] * len(group)
            raise

    def _has(self, family: int) -> bool:
        """Tell whether the namespace has addresses of a family. Without a socket to ask by: it may have."""
        try:
            with self._open_socket(family, _UDP) as sock:
                return has_addresses(sock)
        except AccessDeniedError:
            return True
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return False
            raise

    def _any_socket(self, family: int) -> socket.socket:
        try:
            return self._open_socket(family, _UDP)
        except AccessDeniedError:
            return self._open_socket(family, _TCP)
