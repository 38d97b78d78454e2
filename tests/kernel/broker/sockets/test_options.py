"""Options that a grant names are set with the broker's rights, and can be read back from the socket."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import DENIED, OpenReply, OpenRequest
from nsbrokerd.policy.options import IP_TRANSPARENT, IPV6_TRANSPARENT, SO_BINDTODEVICE, SO_MARK
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as
from support.namespaces import PREFIX

USER = 12345
ANY_BITS = 0xFFFFFFF0
GRANTS = f"""
[[grant]]
name = "router"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp"]
options = ["mark=0x10", "mark={ANY_BITS:#x}", "bind_device=l?", "transparent"]
"""
IPV4, IPV6 = int(socket.AF_INET), int(socket.AF_INET6)


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("options")


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize(
    ("family", "level", "number", "value"),
    [
        (IPV4, socket.SOL_SOCKET, SO_MARK, 0x10),
        (IPV4, socket.SOL_SOCKET, SO_MARK, ANY_BITS),
        (IPV4, socket.SOL_SOCKET, SO_BINDTODEVICE, b"lo"),
        (IPV4, socket.IPPROTO_IP, IP_TRANSPARENT, 1),
        (IPV6, socket.IPPROTO_IPV6, IPV6_TRANSPARENT, 1),
    ],
    ids=["mark", "mark of all bits", "device", "transparent", "transparent, IPv6"],
)
def test_granted_option_is_set(
    broker: BrokerProcess, name: str, kind: int, family: int, level: int, number: int, value: int | bytes
) -> None:
    """Also for a client that could not set it by itself; a socket without it does not have it."""
    asked = SocketSpec(name, family, int(kind), options=((int(level), number, value),))
    with connect_as(USER, broker) as client:
        assert isinstance(client.ask(OpenRequest(1, (asked, asked._replace(options=())))), OpenReply)
        with socket.socket(fileno=client.fds.pop()) as plain, socket.socket(fileno=client.fds.pop()) as sock:
            assert _read(sock, level, number) == value
            assert _read(plain, level, number) in (0, b"")


def _read(sock: socket.socket, level: int, number: int) -> int | bytes:
    if number == SO_BINDTODEVICE:
        return sock.getsockopt(level, number, 16).rstrip(b"\0")
    return sock.getsockopt(level, number) % 2**32


@pytest.mark.parametrize(
    "option",
    [(1, SO_MARK, 0x11), (1, SO_BINDTODEVICE, b"eth0"), (1, SO_BINDTODEVICE, b"")],
    ids=["another mark", "another device", "no device"],
)
def test_other_value_than_the_granted_one_is_refused(
    broker: BrokerProcess, name: str, option: tuple[int, int, int | bytes]
) -> None:
    spec = SocketSpec(name, IPV4, int(socket.SOCK_DGRAM), options=(option,))
    with connect_as(USER, broker) as client:
        assert client.refusal(OpenRequest(1, (spec,))).code == DENIED
