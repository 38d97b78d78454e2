"""A socket answers for its namespace, here for the namespace of this process."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from nsbroker.drivers.thread import run
from nsbroker.names.files.configuration import Configuration
from nsbroker.names.inside import Inside
from nsbroker.names.interfaces import find_interface, ipv4_networks, name_interface, source_addresses
from nsbroker.names.order import Source


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


def test_interfaces_have_an_index_and_a_name(sock: socket.socket) -> None:
    index = socket.if_nametoindex("lo")
    assert find_interface(sock, "lo") == index
    assert name_interface(sock, index) == "lo"


@pytest.mark.parametrize("name", ["", "nothing-here", "a-name-that-is-much-too-long", "7", "n\u00f6", "a\0b"])
def test_interface_that_is_not_there_has_the_index_0(sock: socket.socket, name: str) -> None:
    assert find_interface(sock, name) == 0


@pytest.mark.parametrize("index", [0, 1 << 30])
def test_index_that_is_not_there_has_no_name(sock: socket.socket, index: int) -> None:
    assert name_interface(sock, index) == ""


@pytest.mark.parametrize("index", [1 << 31, 1 << 40, -(1 << 40)])
def test_index_that_no_interface_can_have_has_no_name(sock: socket.socket, index: int) -> None:
    assert name_interface(sock, index) == ""


def test_addresses_have_the_prefix_of_their_network(sock: socket.socket) -> None:
    assert ipv4_networks(sock)["127.0.0.1"] == 8


def test_one_socket_finds_the_source_for_each_destination(sock: socket.socket) -> None:
    """Each look-up starts anew: a socket that stayed connected would return its first source for all of them."""
    sock.connect(("127.0.0.9", 9))
    assert source_addresses(sock, [("127.0.0.1", 9), ("127.0.0.2", 9)]) == ["127.0.0.1", "127.0.0.1"]
    assert source_addresses(sock, [("255.255.255.255", 9), ("127.0.0.2", 9)]) == [None, "127.0.0.1"]


class Sealed(socket.socket):
    """A socket with a limit, which can connect only to port 53."""

    def connect(self, address: Any) -> None:
        if address[1] != 53:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        super().connect(address)


def test_limit_of_a_grant_leaves_the_sources_unknown() -> None:
    with Sealed(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert source_addresses(sock, [("127.0.0.1", 53)]) == ["127.0.0.1"]
        assert source_addresses(sock, [("127.0.0.1", 53), ("127.0.0.1", 80)]) is None


def test_destinations_of_a_family_share_one_socket() -> None:
    """The sources are in the order of the destinations."""
    opened: list[int] = []

    async def open_socket(family: int, type_: int) -> socket.socket:
        opened.append(family)
        return socket.socket(family, type_)

    async def configuration() -> Configuration:
        raise NotImplementedError

    found = run(Inside(open_socket, configuration).find_sources([("127.0.0.1", 1), ("::1", 1, 0, 0), ("127.0.0.2", 1)]))
    assert found == [Source("127.0.0.1", 8), Source("::1"), Source("127.0.0.1", 8)]
    # The last one finds out whether the namespace has IPv6 addresses: otherwise glibc ignores the networks.
    assert opened == [socket.AF_INET, socket.AF_INET6, socket.AF_INET6]
