"""A network of name servers that is made of dictionaries: it performs the actions of a plan, and takes no time."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeVar

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from nsbroker.link.errors import AccessDeniedError
from nsbroker.names import actions, hosts, resolv_conf
from nsbroker.names.exchange import TCP, UDP, frame, split_stream

T = TypeVar("T")

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
        kind = query.question[0].rdtype.name
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
    """Servers by address, and everything else that a driver knows. `asked` has every question on the network, in order.

    `before` can change an answer: it takes the answer, and returns the packets that arrive.
    """

    def __init__(self, servers: dict[str, Server] | None = None, text: str = "", hosts_text: str = "") -> None:
        self.servers = servers or {}
        names = "".join(f"nameserver {address}\n" for address in self.servers)
        self.configuration = actions.Configuration(
            resolv_conf.parse(names + text), hosts.parse(hosts_text), "/etc/resolv.conf", "blue"
        )
        self.asked: list[Asked] = []
        self.opened: list[tuple[int, int]] = []
        self.waited_s = 0.0
        self.refused: set[int] = set()
        self.before: Callable[[bytes], list[bytes]] = lambda packet: [packet]
        self.chunk = 65535
        self.streams_end = False
        self.interfaces = {"eth0": 7}
        self.sources: dict[str, str | None] | None = {}
        self.families = frozenset({socket.AF_INET, socket.AF_INET6})
        self.configured = 0
        self._arriving: deque[bytes] = deque()
        self._timeout_s = 0.0

    def run(self, plan: actions.Steps[T]) -> T:
        return drive(plan, self.perform)

    def perform(self, action: actions.Action) -> object:
        match action:
            case actions.Ask():
                return self._ask(action)
            case actions.Read():
                return self._read()
            case actions.Configure():
                self.configured += 1
                return self.configuration
            case actions.FindInterface():
                return self.interfaces.get(action.name, 0)
            case actions.NameInterface():
                return next((name for name, number in self.interfaces.items() if number == action.number), "")
            case actions.FindSources():
                known = self.sources
                return None if known is None else tuple(known.get(address[0]) for address in action.destinations)
            case actions.FindFamilies():
                return self.families

    def questions(self) -> list[str]:
        """The questions without their servers, for example "A www.test"."""
        return [f"{asked.kind} {asked.name}" for asked in self.asked]

    def _ask(self, ask: actions.Ask) -> bytes | OSError:
        self.opened.append((ask.family, ask.type))
        self._arriving.clear()
        self._timeout_s = ask.timeout_s
        if ask.type in self.refused:
            return AccessDeniedError(errno.EACCES, "no grant for this socket")
        server = self.servers[ask.address[0]]
        packets = list(ask.packets) if ask.type == UDP else split_stream(b"".join(ask.packets))[0]
        for packet in packets:
            question = dns.message.from_wire(packet).question[0]
            name = str(question.name).rstrip(".")
            self.asked.append(Asked(ask.address[0], ask.type, name, question.rdtype.name, ask.timeout_s))
        error = server.error or (server.tcp_error if ask.type == TCP else None)
        if error and not isinstance(error, TimeoutError):
            return error
        answers = [] if error else [answer for packet in packets if (answer := server.answer(packet, ask.type))]
        self._arrive([packet for answer in answers for packet in self.before(answer)], ask.type)
        return self._read()

    def _arrive(self, packets: list[bytes], transport: int) -> None:
        if transport == UDP:
            self._arriving.extend(packets)
            return
        stream = frame(tuple(packets))
        self._arriving.extend(stream[start : start + self.chunk] for start in range(0, len(stream), self.chunk))

    def _read(self) -> bytes | OSError:
        if self._arriving:
            return self._arriving.popleft()
        if self.streams_end and self.opened[-1][1] == TCP:
            return b""
        self.waited_s += self._timeout_s
        return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def refused() -> OSError:
    return ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))


def silent() -> OSError:
    return TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def drive(plan: actions.Steps[T], perform: Callable[[actions.Action], object]) -> T:
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
