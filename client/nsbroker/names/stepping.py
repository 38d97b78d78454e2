"""The driver of plans: performs their actions as steps (see `..waiting`), for threads and for event loops."""

from __future__ import annotations

import errno
import itertools
import socket
from time import monotonic

from ..link.errors import AccessDeniedError
from ..link.waiting import READ, WRITE
from ..place.sockets import connect
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

    from ..link.waiting import Sockets, Steps
    from .actions import Action, SocketAddress
    from .actions import Steps as Plan
    from .addrinfo import AddressInfo
    from .sources import ResolverFiles

    T = TypeVar("T")
    OpenSocket: TypeAlias = Callable[[int, int], Steps[socket.socket]]

_UDP, _TCP, _MOST_BYTES = int(socket.SOCK_DGRAM), int(socket.SOCK_STREAM), 65535


class Resolver:
    """The look-ups of one namespace.

    Args:
        open_socket: opens a non-blocking socket of a family and a type in the namespace.
        read_files: gets the namespace's files from the broker.
        namespace: the namespace's name for errors, or "".
    """

    def __init__(
        self, open_socket: OpenSocket, read_files: Callable[[], Steps[ResolverFiles]], namespace: str = ""
    ) -> None:
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
    ) -> Steps[list[AddressInfo]]:
        """Find addresses as `socket.getaddrinfo` does, but in the namespace; see `addrinfo`."""
        return self._drive(getaddrinfo(host, port, family, type, proto, flags, next(self._rotation)))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> Steps[tuple[str, str]]:
        """Find names as `socket.getnameinfo` does, but in the namespace; see `nameinfo`."""
        return self._drive(getnameinfo(sockaddr, flags, next(self._rotation)))

    def _drive(self, plan: Plan[T]) -> Steps[T]:
        driver = Driver(self._open_socket, self._configuration)
        try:
            action = next(plan)
            while True:
                action = plan.send((yield from driver.perform(action)))
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            plan.close()
            driver.close()

    def _configuration(self) -> Steps[Configuration]:
        fresh = self._configurations.fresh()
        return fresh or self._configurations.store((yield from self._read_files()))


class Driver:
    """Performs the actions of one plan; whoever makes it closes it."""

    def __init__(self, open_socket: OpenSocket, configuration: Callable[[], Steps[Configuration]]) -> None:
        self._open_socket = open_socket
        self._configuration = configuration
        self._sock: socket.socket | None = None
        self._deadline = 0.0

    def close(self) -> None:
        """Close the socket of the last `Ask`."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def perform(self, action: Action) -> Steps[object]:
        """Do what an action says; return what is sent back."""
        match action:
            case Ask():
                return (yield from self._ask(action))
            case Read():
                return (yield from self._read())
            case Configure():
                return (yield from self._configuration())
            case FindSources():
                return (yield from self._sources(action.destinations))
            case FindFamilies():
                return (yield from self._families())
            case FindInterface():
                with (yield from self._any_socket()) as sock:
                    return find_interface(sock, action.name)
            case NameInterface():
                with (yield from self._any_socket()) as sock:
                    return name_interface(sock, action.number)

    def _ask(self, ask: Ask) -> Steps[bytes | OSError]:
        self.close()
        try:
            self._sock = sock = yield from self._open_socket(ask.family, ask.type)
            self._deadline = monotonic() + ask.timeout_s
            yield from connect(sock, ask.address, self._deadline)
            for packet in ask.packets:
                yield from self._send(sock, packet)
        except OSError as error:
            return error
        return (yield from self._read())

    def _send(self, sock: socket.socket, packet: bytes) -> Steps[None]:
        while packet:
            try:
                packet = packet[sock.send(packet) :]
            except BlockingIOError:
                yield from self._until_ready(((sock, WRITE),))

    def _read(self) -> Steps[bytes | OSError]:
        if self._sock is None:
            return TimeoutError()
        try:
            while True:
                yield from self._until_ready(((self._sock, READ),))
                try:
                    return self._sock.recv(_MOST_BYTES)
                except BlockingIOError:  # A datagram with a wrong checksum wakes, and is not there.
                    pass
        except OSError as error:
            return error

    def _until_ready(self, sockets: Sockets) -> Steps[None]:
        if not (yield self._deadline, sockets):
            raise TimeoutError

    def _families(self) -> Steps[frozenset[int]]:
        found = set()
        for family in (AF_INET, AF_INET6):
            try:
                with (yield from self._open_socket(family, _UDP)) as sock:
                    present = has_addresses(sock)
            except OSError as error:
                # Without a socket to ask by: the namespace may have addresses of this family.
                present = isinstance(error, AccessDeniedError)
                if not present and error.errno != errno.EAFNOSUPPORT:
                    raise
            if present:
                found.add(family)
        return frozenset(found)

    def _sources(self, destinations: tuple[SocketAddress, ...]) -> Steps[tuple[str | None, ...] | None]:
        found: dict[SocketAddress, str | None] = {}
        for family, group in by_family(destinations).items():
            sources = yield from self._sources_of(family, group)
            if sources is None:
                return None
            found.update(zip(group, sources, strict=True))
        return tuple(found[destination] for destination in destinations)

    def _sources_of(self, family: int, group: list[SocketAddress]) -> Steps[list[str | None] | None]:
        if self._sock is not None and (self._sock.family, self._sock.type) == (family, _UDP):
            return source_addresses(self._sock, group)  # It saves the broker a request.
        try:
            with (yield from self._open_socket(family, _UDP)) as sock:
                return source_addresses(sock, group)
        except AccessDeniedError:
            return None
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return [None] * len(group)
            raise

    def _any_socket(self) -> Steps[socket.socket]:
        try:
            return (yield from self._open_socket(AF_INET, _UDP))
        except AccessDeniedError:
            return (yield from self._open_socket(AF_INET, _TCP))
