"""The packets of name servers: each look-up ends in addresses of an answer to its question, or in a name error.

An input is a byte of settings, a byte that chooses the look-up, and what arrives, one after the other: each with its
length in two bytes in front. Something of one byte is an error. The ids of questions are 1, 2, and so on.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import dns.message  # noqa: F401  # atheris instruments modules that a target imports

import nsbroker.names.dns.search  # noqa: F401  # as above: a look-up imports it only when it asks
from nsbroker.link.errors import AccessDeniedError
from nsbroker.names.files import configuration
from nsbroker.names.getaddrinfo import getaddrinfo
from nsbroker.names.gethostby import gethostbyaddr, gethostbyname_ex
from nsbroker.names.getnameinfo import getnameinfo
from nsbroker.names.order import Source
from nsbroker.wire import ResolverFiles

from ..questions import same_questions
from ..target import Target

AF_INET, AF_INET6 = int(socket.AF_INET), int(socket.AF_INET6)
CANONNAME, V4MAPPED, ALL = int(socket.AI_CANONNAME), int(socket.AI_V4MAPPED), int(socket.AI_ALL)
UDP = int(socket.SOCK_DGRAM)
OPTIONS = ("edns0", "use-vc", "single-request", "no-aaaa", "trust-ad", "no-tld-query")
TEXT = "nameserver 192.0.2.1\nnameserver fe80::1%eth0\nsearch example.org test\nsortlist 10.0.0.0/8\noptions rotate "

MAX_CONVERSATIONS = 200
"""Of one look-up: three names, two servers, two attempts, both types alone, with EDNS or not, by UDP and TCP."""

LOOK_UPS: tuple[Callable[[Any], Coroutine[Any, Any, Any]], ...] = (
    lambda inside: getaddrinfo(inside, "www.example.org", 80, flags=CANONNAME),
    lambda inside: getaddrinfo(inside, "a", 80, AF_INET),
    lambda inside: getaddrinfo(inside, "www.example.org", 80, AF_INET6, flags=V4MAPPED | ALL),
    lambda inside: gethostbyname_ex(inside, "www.example.org"),
    lambda inside: gethostbyaddr(inside, "192.0.2.7"),
    lambda inside: getnameinfo(inside, ("fd00::7", 80, 0, 0), 0),
)
REFUSED = b"\1"
"""Stands for the second of the errors, which ends a look-up early."""

ERRORS: tuple[Callable[[], OSError], ...] = (
    lambda: TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)),
    lambda: ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED)),
    lambda: ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET)),
    lambda: AccessDeniedError(errno.EACCES, "no grant for this socket"),
    lambda: PermissionError(errno.EPERM, os.strerror(errno.EPERM)),
)


class Inside:
    """In place of the namespace: what arrives comes from the input.

    Attributes:
        answers: the packets that answer a question of the conversation in which they came.
        asked: the names in the questions, as bytes.
        conversations: how many there were.
    """

    rotation = 0

    def __init__(self, settings: int, arriving: Sequence[bytes]) -> None:
        text = TEXT + " ".join(option for bit, option in enumerate(OPTIONS) if settings >> bit & 1)
        self._files = ResolverFiles(text, "", "/etc/resolv.conf")
        self._arriving = iter(arriving)
        self._questions: list[bytes] = []
        self._stream = b""
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.conversations = 0

    async def configuration(self) -> Any:
        return configuration.parse(self._files, "blue", lambda: "host", {})

    async def find_interface(self, name: str) -> int:
        return 7 if name == "eth0" else 0

    async def name_interface(self, _: int) -> str:
        return "eth0"

    async def find_families(self) -> frozenset[int]:
        return frozenset({AF_INET, AF_INET6})

    async def find_sources(self, destinations: Sequence[Any]) -> list[Source | None]:
        return [Source("10.0.0.2" if len(one) == 2 else "fd00::2") for one in destinations]

    async def find_ipv4_networks(self) -> dict[str, int]:
        return {"10.0.0.2": 8}

    async def send(self, family: int, type_: int, address: Any, packets: Sequence[bytes], _: float) -> int:
        self.conversations += 1
        assert self.conversations <= MAX_CONVERSATIONS, "the look-up asks for ever"
        socket.inet_pton(family, address[0])
        self._questions = list(packets) if type_ == UDP else split(b"".join(packets))
        self._stream = b""
        self.asked += [question[12:].lower() for question in self._questions]
        return type_

    async def receive(self, type_: int) -> bytes:
        data = next(self._arriving, REFUSED)
        if len(data) == 1:
            make_error = ERRORS[data[0] % len(ERRORS)]
            raise make_error()
        self._stream += data
        packets = [data] if type_ == UDP else split(self._stream)
        self.answers += [packet for packet in packets if any(answers(question, packet) for question in self._questions)]
        return data


def split(stream: bytes) -> list[bytes]:
    """Return the whole packets of a stream, each of which has its length in front."""
    packets = []
    while len(stream) >= 2 and len(stream) >= (end := 2 + int.from_bytes(stream[:2], "big")):
        packets.append(stream[2:end])
        stream = stream[end:]
    return packets


def answers(question: bytes, packet: bytes) -> bool:
    """Return whether a packet has the id and the question of a question. Source: RFC 1035, 4.1, and RFC 5452, 9.1."""
    length = 12
    while question[length]:
        length += 1 + question[length]
    length += 5
    is_response = len(packet) >= length and packet[2] & 0xF8 == 0x80 and packet[4:6] == b"\0\1"
    return is_response and packet[:2] == question[:2] and packet[12:length].lower() == question[12:length].lower()


def check(data: bytes) -> None:
    """Check one look-up."""
    if len(data) < 2:
        return
    inside = Inside(data[0], split(data[2:]))
    try:
        with same_questions():
            LOOK_UPS[data[1] % len(LOOK_UPS)](inside).send(None)
    except StopIteration as stop:
        check_result(stop.value, inside)
    except (socket.gaierror, socket.herror) as error:
        assert error.strerror
    else:
        raise AssertionError("the look-up waits for something else than an answer")


def check_result(result: Any, inside: Inside) -> None:
    """Check that addresses and names are in an answer to a question of this look-up."""
    hosts: list[str] = []
    names: list[str] = []
    if isinstance(result, list):
        hosts, names = [address[0] for *_, address in result], [canonical for _, _, _, canonical, _ in result]
    elif len(result) == 3:
        names, hosts = [result[0], *result[1]], result[2]
    else:
        names = [result[0]]
    assert hosts or names
    for host in hosts:
        address = ipaddress.ip_address(host)
        packed = getattr(address, "ipv4_mapped", None) or address
        known = any(packed.packed in answer or address.packed in answer for answer in inside.answers)
        assert known or host == "192.0.2.7", f"no answer to the question has {host}"
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_.:-]*", name)
        for label in name.encode().split(b"."):
            known = any(label.lower() in text for text in (*inside.asked, *map(bytes.lower, inside.answers)))
            assert known or name == "fd00::7", f"no answer to the question has {name}"


WORDS = (
    b"\x00\x01\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00", b"\x03www\x07example\x03org\x00",
    b"\x01a\x07example\x03org\x00", b"\x017\x012\x010\x03192\x07in-addr\x04arpa\x00", b"\xc0\x0c", b"\xc0\x00",
    b"\x00\x01\x00\x01", b"\x00\x1c\x00\x01",
    b"\x00\x05\x00\x01", b"\x00\x0c\x00\x01", b"\x00\x00\x00\x3c\x00\x04", b"\x00\x00\x00\x3c\x00\x10", b"\x83\x80",
    b"\x81\x83", b"\x81\x82", b"\x81\x81", b"\x00\x29\x04\xb0", b"\x00\x01\x00", b"\x00\x01\x01", b"\x00\x01\x03",
)  # fmt: skip
TARGET = Target(check, WORDS)
