"""A network of name servers that is made of dictionaries, and a resolver for tests that block."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from nsbroker.drivers.thread import run
from nsbroker.link.errors import AccessDeniedError
from nsbroker.names.dns.questions import TCP, UDP, frame, split_stream
from nsbroker.names.files import hosts, resolv_conf
from nsbroker.names.files.configuration import Configuration
from nsbroker.names.order import Source
from nsbroker.names.resolver import Resolver

Zone = dict[str, str]
"""The records of a name, one a line, for example "A 10.0.0.1", "CNAME other.test." or "PTR name.test."."""


class Asked(NamedTuple):
    """One question as it was asked."""

    server: str
    transport: int
    name: str
    kind: str
    timeout_s: float


class Server:
    """A name server that knows `zone`. No other name exists there.

    Args:
        zone: the records by name.
        error: the error of each conversation. A TimeoutError stands for a silent server.
        rcode: the code of every reply, instead of an answer.
        mute: the record types that it does not answer.
        udp_limit: the most bytes in an answer by UDP.
    """

    def __init__(
        self,
        zone: Zone | None = None,
        *,
        error: OSError | None = None,
        rcode: str = "",
        mute: Iterable[str] = (),
        udp_limit: int = 512,
        tcp_error: OSError | None = None,
    ) -> None:
        self.zone = zone or {}
        self.error = error
        self.rcode = rcode
        self.mute = frozenset(mute)
        self.udp_limit = udp_limit
        self.tcp_error = tcp_error

    def answer(self, packet: bytes, transport: int) -> bytes | None:
        """Return the reply to one packet."""
        query = dns.message.from_wire(packet)
        kind = dns.rdatatype.to_text(query.question[0].rdtype)
        if kind in self.mute:
            return None
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.rcode:
            reply.set_rcode(dns.rcode.from_text(self.rcode))
        else:
            self._fill(reply, str(query.question[0].name).rstrip("."), kind)
        wire = reply.to_wire()
        if transport == UDP and len(wire) > self.udp_limit:
            reply.answer = []
            reply.flags |= dns.flags.TC
            wire = reply.to_wire()
        return wire

    def _fill(self, reply: dns.message.Message, name: str, kind: str) -> None:
        known = {name.lower(): text for name, text in self.zone.items()}
        if name.lower() not in known:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        while name.lower() in known:
            records = [line.split() for line in known[name.lower()].splitlines()]
            for wanted in (kind, "CNAME"):
                if values := [value for type_, value in records if type_ == wanted]:
                    reply.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", wanted, *values))
                    break
            else:
                return
            if wanted == kind:
                return
            name = values[0].rstrip(".")


class Network:
    """Servers by address, and the rest of an `Inside`, whose methods it has. They take no time.

    `asked` is every question that reached the network, in order. `before` may change what a server says: it gets the
    answer and returns the packets that arrive.
    """

    def __init__(self, servers: dict[str, Server] | None = None, text: str = "", hosts_text: str = "") -> None:
        self.servers = servers or {}
        names = "".join(f"nameserver {address}\n" for address in self.servers)
        self.files = Configuration(resolv_conf.parse(names + text), hosts.parse(hosts_text), "/etc/resolv.conf", "blue")
        self.rotation = 0
        self.asked: list[Asked] = []
        self.opened: list[tuple[int, int]] = []
        self.addresses: list[tuple[Any, ...]] = []
        self.waited_s = 0.0
        self.refused: set[int] = set()
        self.before: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self.chunk = 65535
        self.streams_end = False
        self.interfaces = {"eth0": 7}
        self.sources: dict[str, str | None] | None = {}
        self.networks: dict[str, int] = {}
        self.families = frozenset({int(socket.AF_INET), int(socket.AF_INET6)})
        self.configured = 0
        self._arriving: deque[bytes] = deque()
        self._timeout_s = 0.0

    def questions(self) -> list[str]:
        """The questions without their servers, for example "A www.test"."""
        return [f"{asked.kind} {asked.name}" for asked in self.asked]

    async def configuration(self) -> Configuration:
        self.configured += 1
        return self.files

    async def find_interface(self, name: str) -> int:
        return self.interfaces.get(name, 0)

    async def name_interface(self, index: int) -> str:
        return next((name for name, number in self.interfaces.items() if number == index), "")

    async def find_families(self) -> frozenset[int]:
        return self.families

    async def find_sources(self, destinations: Sequence[tuple[Any, ...]]) -> list[Source | None] | None:
        if self.sources is None:
            return None
        found = [self.sources.get(address[0]) for address in destinations]
        return [Source(address) if address else None for address in found]

    async def find_ipv4_networks(self) -> dict[str, int]:
        return self.networks

    async def send(
        self, family: int, type_: int, address: tuple[Any, ...], packets: Sequence[bytes], timeout_s: float
    ) -> None:
        self.opened.append((family, type_))
        self.addresses.append(address)
        self._arriving.clear()
        self._timeout_s = timeout_s
        if type_ in self.refused:
            raise AccessDeniedError(errno.EACCES, "no grant for this socket")
        server = self.servers[address[0]]
        messages = list(packets) if type_ == UDP else split_stream(b"".join(packets))[0]
        for packet in messages:
            question = dns.message.from_wire(packet).question[0]
            name = str(question.name).rstrip(".")
            self.asked.append(Asked(address[0], type_, name, dns.rdatatype.to_text(question.rdtype), timeout_s))
        error = server.error or (server.tcp_error if type_ == TCP else None)
        if error and not isinstance(error, TimeoutError):
            raise error
        answers = [] if error else [answer for packet in messages if (answer := server.answer(packet, type_))]
        self._arrive([packet for answer in answers for packet in self.before(answer)], type_)

    def _arrive(self, packets: list[bytes], transport: int) -> None:
        if transport == UDP:
            self._arriving.extend(packets)
            return
        stream = frame(packets)
        self._arriving.extend(stream[start : start + self.chunk] for start in range(0, len(stream), self.chunk))

    async def receive(self, _: object) -> bytes:
        if self._arriving:
            return self._arriving.popleft()
        if self.streams_end and self.opened[-1][1] == TCP:
            return b""
        self.waited_s += self._timeout_s
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def silent() -> OSError:
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


class Blocking:
    """A `Resolver` whose sockets and files come from functions that block, driven by the thread that asks."""

    def __init__(
        self, open_socket: Callable[[int, int], socket.socket], read_files: Callable[[], Any], namespace: str = ""
    ) -> None:
        async def open_without_blocking(family: int, type_: int) -> socket.socket:
            sock = open_socket(family, type_)
            sock.setblocking(False)
            return sock

        async def read() -> Any:
            return read_files()

        self._resolver = Resolver(open_without_blocking, read, namespace)

    def getaddrinfo(self, *arguments: Any, **named: Any) -> list[Any]:
        return run(self._resolver.getaddrinfo(*arguments, **named))

    def getnameinfo(self, sockaddr: tuple[Any, ...], flags: int) -> tuple[str, str]:
        return run(self._resolver.getnameinfo(sockaddr, flags))
