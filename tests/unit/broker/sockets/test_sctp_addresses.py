"""The further addresses of an SCTP socket, as the kernel takes them."""

from __future__ import annotations

import socket
import sys

import pytest

from nsbrokerd.sockets.kernel_support import why_unsupported
from nsbrokerd.sockets.set_up import bind_also


class Socket:
    """Remembers the options that were set."""

    def setsockopt(self, *option: object) -> None:
        self.option = option


def packed(family: int, *addresses: tuple[str, int] | tuple[str, int, int, int]) -> bytes:
    sock = Socket()
    bind_also(sock, family, addresses)  # type: ignore[arg-type]  # all that it uses
    level, name, value = sock.option
    assert (level, name) == (132, 100)
    assert isinstance(value, bytes)
    return value


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, sys.byteorder)


def test_addresses_of_ipv4_stand_side_by_side() -> None:
    """A struct sockaddr_in has the family in host order and the port in network order, in 16 bytes."""
    two = number(2, 2)
    assert packed(socket.AF_INET, ("10.0.0.1", 80), ("10.0.0.2", 80)) == (
        two + b"\0\x50\x0a\0\0\x01" + bytes(8) + two + b"\0\x50\x0a\0\0\x02" + bytes(8)
    )


def test_addresses_of_ipv6_have_their_scope() -> None:
    """A struct sockaddr_in6 has the scope's index in host order, in 28 bytes."""
    host = b"\xfe\x80" + bytes(13) + b"\x01"
    expected = number(10, 2) + b"\x1f\x90" + b"\0\0\0\x05" + host + number(3, 4)
    assert packed(socket.AF_INET6, ("fe80::1", 8080, 5, 3)) == expected


@pytest.mark.parametrize(
    ("kind", "words"),
    [("sctp", "load the module sctp, then reload nsbrokerd"), ("udplite", "this kernel has no udplite sockets")],
)
def test_what_the_kernel_does_not_have_is_named(kind: str, words: str) -> None:
    assert words in why_unsupported(kind, 93)
