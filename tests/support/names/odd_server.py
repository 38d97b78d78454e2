"""A name server whose answers are odd in the way that the first label of the name says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from struct import pack

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

from support.sockets_inside import open_inside

Message = dns.message.QueryMessage

_RECORDS = {"A": "10.0.0.1", "AAAA": "2001:db8::1"}


class OddServer:
    """Answers in a namespace at port 53, by UDP and TCP, until `stop`."""

    def __init__(self, namespace: str) -> None:
        self._udp = open_inside(namespace, socket.SOCK_DGRAM, 53)
        self._tcp = open_inside(namespace, socket.SOCK_STREAM, 53)
        self._threads = [threading.Thread(target=serve) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        for sock in (self._udp, self._tcp):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while True:
            data, peer = self._udp.recvfrom(65535)
            if not data:
                return
            with suppress(dns.exception.DNSException):
                self._udp.sendto(answer(data, by_udp=True), peer)

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection = self._tcp.accept()[0]
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                while length := stream.read(2):
                    packet = answer(stream.read(int.from_bytes(length, "big")), by_udp=False)
                    connection.sendall(pack("!H", len(packet)) + packet)


def answer(packet: bytes, *, by_udp: bool) -> bytes:
    """Return the reply to a question."""
    query = dns.message.from_wire(packet)
    reply = dns.message.make_response(query)
    reply.flags |= dns.flags.RA
    name, kind = query.question[0].name, query.question[0].rdtype.name
    label, *more = str(name).split(".")[0].lower().split("-")
    if label == "rcode":
        if not more[1:] or more[1] == kind.lower():
            reply.set_rcode(dns.rcode.Rcode(int(more[0])))
        if more[1:] and more[1] != kind.lower():
            _add(reply, str(name), kind, _RECORDS.get(kind, ""))
        return reply.to_wire()
    make = _ODD.get(label)
    if make is None:
        reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()
    if label == "cut" and by_udp:
        reply.flags |= dns.flags.TC
        return reply.to_wire()
    make(reply, str(name), kind)
    return reply.to_wire()


def _add(reply: Message, owner: str, kind: str, *values: str) -> None:
    if all(values):
        reply.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, *values))


def _alias_then(target: str, owner: str = "") -> Callable[[Message, str, str], None]:
    def make(reply: Message, name: str, kind: str) -> None:
        _add(reply, name, "CNAME", target)
        _add(reply, owner or target, kind, _RECORDS.get(kind, ""))

    return make


def _good(reply: Message, name: str, kind: str) -> None:
    _add(reply, name, kind, _RECORDS.get(kind, ""))


def _lame(reply: Message, _: str, __: str) -> None:
    reply.flags &= ~dns.flags.RA


def _other_owner(reply: Message, _: str, kind: str) -> None:
    _add(reply, "elsewhere.test.", kind, _RECORDS.get(kind, ""))


def _other_type(reply: Message, name: str, _: str) -> None:
    _add(reply, name, "TXT", "hello")


def _only_ipv4(reply: Message, name: str, kind: str) -> None:
    if kind == "A":
        _good(reply, name, kind)


def _only_ipv6(reply: Message, name: str, kind: str) -> None:
    if kind == "AAAA":
        _good(reply, name, kind)


def _missing_ipv6(reply: Message, name: str, kind: str) -> None:
    if kind == "A":
        _good(reply, name, kind)
    else:
        reply.set_rcode(dns.rcode.NXDOMAIN)


def _alias_of_one_family(reply: Message, name: str, kind: str) -> None:
    _add(reply, name, "CNAME", "target.test.")
    if kind == "A":
        _add(reply, "target.test.", kind, _RECORDS[kind])


def _upper_case(reply: Message, name: str, kind: str) -> None:
    _add(reply, name.upper(), kind, _RECORDS.get(kind, ""))


def _unknown_to(family: str) -> Callable[[Message, str, str], None]:
    def make(reply: Message, _: str, kind: str) -> None:
        if kind == family:
            reply.set_rcode(dns.rcode.NXDOMAIN)

    return make


def _loop(reply: Message, name: str, _: str) -> None:
    _add(reply, name, "CNAME", "other.test.")
    _add(reply, "other.test.", "CNAME", name)


def _records_before_alias(reply: Message, name: str, kind: str) -> None:
    _add(reply, "target.test.", kind, _RECORDS.get(kind, ""))
    _add(reply, name, "CNAME", "target.test.")


_ODD: dict[str, Callable[[Message, str, str], None]] = {
    "good": _good, "cut": _good, "nodata": lambda *_: None, "lame": _lame, "owner": _other_owner,
    "text": _other_type, "four": _only_ipv4, "six": _only_ipv6, "missing": _missing_ipv6, "upper": _upper_case,
    "alias": _alias_then("target.test."), "badalias": _alias_then("bad\\032name.test."), "loop": _loop,
    "dashalias": _alias_then("-target.test."), "dangling": lambda reply, name, _: _add(reply, name, "CNAME", "x.test."),
    "unlinked": _alias_then("target.test.", "elsewhere.test."), "half": _alias_of_one_family,
    "reversed": _records_before_alias, "unknownsix": _unknown_to("AAAA"), "unknownfour": _unknown_to("A"),
}  # fmt: skip

NAMES = tuple(
    f"{label}.test"
    for label in (*_ODD, *(f"rcode-{code}" for code in (0, 2, 3, 4, 5)), *(
        f"rcode-{code}-{kind}" for code in (2, 3, 4, 5) for kind in ("a", "aaaa")
    ))
)  # fmt: skip
"""Every name that has an odd answer."""
