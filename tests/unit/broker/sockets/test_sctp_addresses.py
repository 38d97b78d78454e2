"""The further addresses of an SCTP socket, as the kernel takes them."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from collections.abc import Callable
from struct import pack
from types import SimpleNamespace

import pytest

from nsbrokerd.sockets import set_up
from nsbrokerd.sockets.kernel_support import why_unsupported
from nsbrokerd.sockets.set_up import bind_also

LIMIT_S = 60
SOL_PACKET, PACKET_RX_RING = 263, 5

Pack = Callable[..., bytes]


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> Pack:
    """Returns the option that the kernel would get for some addresses."""
    options: list[bytes] = []

    def setsockopt(fd: int, level: int, name: int, value: bytes, size: int) -> int:
        assert (fd, level, name, size) == (7, 132, 100, len(value))
        options.append(value)
        return 0

    monkeypatch.setattr(set_up, "_libc", SimpleNamespace(setsockopt=setsockopt))

    def pack_all(family: int, *addresses: tuple[str, int] | tuple[str, int, int, int]) -> bytes:
        bind_also(SimpleNamespace(fileno=lambda: 7), family, addresses)  # type: ignore[arg-type]  # all that it uses
        return options.pop()

    return pack_all


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)


def test_addresses_of_ipv4_stand_side_by_side(packed: Pack) -> None:
    """A struct sockaddr_in has the family in host order and the port in network order, in 16 bytes."""
    two = number(2, 2)
    assert packed(socket.AF_INET, ("10.0.0.1", 80), ("10.0.0.2", 80)) == (
        two + b"\0\x50\x0a\0\0\x01" + bytes(8) + two + b"\0\x50\x0a\0\0\x02" + bytes(8)
    )


def test_addresses_of_ipv6_have_their_scope(packed: Pack) -> None:
    """A struct sockaddr_in6 has the scope's index in host order, in 28 bytes."""
    host = b"\xfe\x80" + bytes(13) + b"\x01"
    expected = number(10, 2) + b"\x1f\x90" + b"\0\0\0\x05" + host + number(3, 4)
    assert packed(socket.AF_INET6, ("fe80::1", 8080, 5, 3)) == expected


def test_error_of_the_kernel_is_raised() -> None:
    told = os.strerror(errno.ENOPROTOOPT)
    with socket.socket() as tcp, pytest.raises(OSError, match=told) as failure:
        bind_also(tcp, socket.AF_INET, [("127.0.0.1", 80)])
    assert failure.value.errno == errno.ENOPROTOOPT


@pytest.mark.skipif(os.geteuid() != 0, reason="a packet socket needs root")
def test_other_threads_run_while_the_kernel_binds(monkeypatch: pytest.MonkeyPatch) -> None:
    """So a person whose binds are slow delays no other one. Another option that makes the kernel wait stands in."""
    go, ran = threading.Event(), threading.Event()

    def wait() -> None:
        go.wait(LIMIT_S)
        ran.set()

    thread = threading.Thread(target=wait)
    thread.start()
    ring = {"set": pack("IIII", 4096, 1, 2048, 2), "removed": bytes(16)}
    monkeypatch.setattr(set_up, "_IPPROTO_SCTP", SOL_PACKET)
    monkeypatch.setattr(set_up, "_SCTP_SOCKOPT_BINDX_ADD", PACKET_RX_RING)
    monkeypatch.setattr(set_up, "_pack", lambda _family, change: ring[change])
    before = sys.getswitchinterval()
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sys.setswitchinterval(LIMIT_S)  # so a thread runs only if the present one lets it
        try:
            go.set()
            for _ in range(8):
                bind_also(sock, 0, [("set",)])  # type: ignore[list-item]
                bind_also(sock, 0, [("removed",)])  # type: ignore[list-item]
            has_run = ran.is_set()
        finally:
            sys.setswitchinterval(before)
    thread.join()
    assert has_run


@pytest.mark.parametrize(
    ("kind", "words"),
    [("sctp", "load the module sctp, then reload nsbrokerd"), ("udplite", "this kernel has no udplite sockets")],
)
def test_what_the_kernel_does_not_have_is_named(kind: str, words: str) -> None:
    assert words in why_unsupported(kind, 93)
