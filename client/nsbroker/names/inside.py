"""`Inside`: the means of one look-up inside its namespace."""

from __future__ import annotations

import errno
import socket
from time import monotonic

from ..link.errors import AccessDeniedError
from ..link.waiting import READ, WRITE, connect, wait
from .interfaces import find_interface, has_addresses, ipv4_networks, name_interface, source_addresses
from .order import Source, networks_matter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from .files.configuration import Configuration
    from .interfaces import Networks
    from .numeric import SocketAddress

    OpenSocket = Callable[[int, int], Awaitable[socket.socket]]

AF_INET, AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
_UDP, _TCP, _MOST_BYTES = int(socket.SOCK_DGRAM), int(socket.SOCK_STREAM), 65535


class Inside:
    """Files, interfaces, routes, and one socket at a time for DNS: everything that a look-up needs of its namespace.

    Attributes:
        configuration: reads the namespace's files.
        rotation: a number that grows with each look-up, for `options rotate`.
    """

    def __init__(
        self, open_socket: OpenSocket, configuration: Callable[[], Awaitable[Configuration]], rotation: int = 0
    ) -> None:
        self.configuration = configuration
        self.rotation = rotation
        self._open_socket = open_socket
        self._sock: socket.socket | None = None
        self._deadline = 0.0

    def close(self) -> None:
        """Close the DNS socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    async def send(
        self,
        family: int,
        type: int,  # noqa: A002  # the socket module's own name
        address: SocketAddress,
        packets: Sequence[bytes],
        timeout_s: float,
    ) -> socket.socket:
        """Open the DNS socket, connect it to a name server, send the packets one by one, and return the socket.

        Args:
            family: AF_INET or AF_INET6.
            type: SOCK_DGRAM or SOCK_STREAM.
            address: the server.
            packets: for TCP they have their lengths in front.
            timeout_s: seconds for connecting, sending and receiving together. They run from the moment when the socket
                is open: the client limits the time of the broker's answer.

        Raises:
            OSError: a step failed, or the broker refused the socket. It is a TimeoutError if the time is up.
        """
        self.close()
        self._sock = sock = await self._open_socket(family, type)
        self._deadline = monotonic() + timeout_s
        await connect(sock, address, self._deadline)
        for packet in packets:
            while packet:
                try:
                    packet = packet[sock.send(packet) :]
                except BlockingIOError:
                    await self._until_ready(sock, WRITE)
        return sock

    async def receive(self, sock: socket.socket) -> bytes:
        """Read once from the DNS socket: one datagram, or any part of the stream with b"" at its end.

        Raises:
            OSError: as recv(2), or a TimeoutError if the time is up.
        """
        while True:
            await self._until_ready(sock, READ)
            try:
                return sock.recv(_MOST_BYTES)
            except BlockingIOError:
                pass  # A datagram with a wrong checksum wakes the reader, and can't be read.

    async def _until_ready(self, sock: socket.socket, event: int) -> None:
        # A server that floods the socket makes it ready at all times, so this looks at the clock, too.
        if monotonic() >= self._deadline or not await wait(self._deadline, ((sock, event),)):
            raise TimeoutError

    async def find_interface(self, name: str) -> int:
        """Return the index of an interface, or 0 if there is no interface of this name."""
        with await self._any_socket() as sock:
            return find_interface(sock, name)

    async def name_interface(self, index: int) -> str:
        """Return the name of an interface, or "" if there is no interface of this index."""
        with await self._any_socket() as sock:
            return name_interface(sock, index)

    async def _any_socket(self) -> socket.socket:
        try:
            return await self._open_socket(AF_INET, _UDP)
        except AccessDeniedError:
            return await self._open_socket(AF_INET, _TCP)

    async def find_families(self) -> frozenset[int]:
        """Return the families for which the namespace has an address beside loopback."""
        return frozenset([family for family in (AF_INET, AF_INET6) if await self._has_family(family)])

    async def _has_family(self, family: int) -> bool:
        try:
            with await self._open_socket(family, _UDP) as sock:
                return has_addresses(sock)
        except AccessDeniedError:
            return True  # It may have such addresses.
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return False
            raise

    async def find_ipv4_networks(self) -> Networks:
        """Return the length of the prefix of each IPv4 address of the namespace."""
        with await self._any_socket() as sock:
            return ipv4_networks(sock)

    async def find_sources(self, destinations: Sequence[SocketAddress]) -> list[Source | None] | None:
        """Return the source from which the namespace would send to each destination.

        The source is `None` if there is no route. Instead of the list, the result is `None` if the policy refuses a
        socket to find out.
        """
        found: dict[SocketAddress, Source | None] = {}
        for family, length in ((AF_INET, 2), (AF_INET6, 4)):
            group = [destination for destination in destinations if len(destination) == length]
            sources = await self._sources_of(family, group) if group else []
            if sources is None:
                return None
            found.update(zip(group, sources, strict=True))
        result = [found[destination] for destination in destinations]
        hosts = [destination[0] for destination in destinations]
        if networks_matter(hosts, result) and not await self._has_family(AF_INET6):
            # glibc knows the networks only where it has seen an IPv6 address.
            return [Source(source.address) if source else None for source in result]
        return result

    async def _sources_of(self, family: int, group: list[SocketAddress]) -> list[Source | None] | None:
        if self._sock is not None and (self._sock.family, self._sock.type) == (family, _UDP):
            return _sources(self._sock, group)  # This saves the broker a request.
        try:
            with await self._open_socket(family, _UDP) as sock:
                return _sources(sock, group)
        except AccessDeniedError:
            return None
        except OSError as error:
            if error.errno == errno.EAFNOSUPPORT:
                return [None] * len(group)
            raise


def _sources(sock: socket.socket, group: list[SocketAddress]) -> list[Source | None] | None:
    addresses = source_addresses(sock, group)
    if addresses is None:
        return None
    networks = ipv4_networks(sock) if sock.family == AF_INET and len(group) > 1 else {}
    return [
        None if address is None else Source(address, networks.get(_interface_address(address), 0))
        for address in addresses
    ]


def _interface_address(source: str) -> str:
    """Return the address under which glibc looks for a source: that of the loopback interface for 127.x.x.x."""
    return "127.0.0.1" if source.startswith("127.") else source
