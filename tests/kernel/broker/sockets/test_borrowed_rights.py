"""A socket from the broker obeys its client as the client's own would: no option or ioctl of root's works on it."""

from __future__ import annotations

import errno
import fcntl
import socket
import struct
from collections.abc import Callable

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from support import int80
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as
from support.inside import cookie_here, netns_cookie
from support.namespaces import PREFIX
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.users import GROUP, USER, as_user

GRANTS = f"""
[[grant]]
name = "every option"
users = ["*"]
namespaces = ["{PREFIX}*"]
sockets = ["tcp"]
options = ["mark=0x10", "transparent"]
"""

SIOCGSKNS, SIOCSIFFLAGS = 0x894C, 0x8914
OPTIONS = {
    "TCP_REPAIR": (6, 19, 1),
    "SO_MARK": (1, 36, 1),
    "IP_TRANSPARENT": (0, 19, 1),
    "IPV6_TRANSPARENT": (41, 75, 1),
    "SO_RCVBUFFORCE": (1, 33, 1 << 24),
    "SO_SNDBUFFORCE": (1, 32, 1 << 24),
    "SO_PRIORITY": (1, 12, 7),
}
"""Socket options that need CAP_NET_ADMIN in the user namespace of the socket's network namespace."""


def as_itself() -> None:
    """As the client that the broker gave the socket to."""


def as_root_of_its_own() -> None:
    """With all capabilities in a user namespace, and a network namespace in it."""
    move_into_new(CLONE_NEWUSER | CLONE_NEWNET)


def try_all(become: Callable[[], None], sock: socket.socket) -> dict[str, str]:
    """Return the names of those that do not fail with EPERM, and what happened instead."""
    become()
    here = cookie_here()
    others = {
        **{name: lambda option=option: sock.setsockopt(*option) for name, option in OPTIONS.items()},
        "its namespace by SIOCGSKNS": lambda: fcntl.ioctl(sock, SIOCGSKNS),
        "an interface by SIOCSIFFLAGS": lambda: fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("=16sH14x", b"lo", 0)),
    }
    if int80.why_not() is None:
        # The kernel's compat calls check the same.
        for name, (level, option, value) in OPTIONS.items():
            others[f"{name} by int 0x80"] = lambda level=level, option=option, value=value: int80.call(
                int80.SETSOCKOPT, sock.fileno(), level, option, struct.pack("=i", value), 4
            )
    assert netns_cookie(sock) != here
    return {name: result for name, attempt in others.items() if (result := _outcome(attempt)) != "EPERM"}


def _outcome(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return "done"


def open_socket(broker: BrokerProcess, name: str) -> socket.socket:
    """For IPv6, so that the options of both families fit it. The broker has set privileged options of it."""
    options = ((1, 36, 0x10), (0, 19, 1), (41, 75, 1))
    spec = SocketSpec(name, int(socket.AF_INET6), int(socket.SOCK_STREAM), options=options)
    with connect_as(USER, broker) as client:
        reply = client.ask(OpenRequest(1, (spec,)))
        assert isinstance(reply, OpenReply), reply
        return socket.socket(fileno=client.fds.pop())


@pytest.mark.parametrize("become", [as_itself, as_root_of_its_own])
def test_client_gains_no_right_by_its_socket(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str], become: Callable[[], None]
) -> None:
    """It gets no descriptor of the namespace either. Root can do all of it, otherwise this test would show nothing."""
    name = make_namespace()
    with open_socket(start_broker(GRANTS), name) as sock:
        assert as_user(USER, GROUP, try_all, become, sock) == {}
        done = as_user(0, 0, try_all, as_itself, sock)
        assert {*OPTIONS, "its namespace by SIOCGSKNS", "an interface by SIOCSIFFLAGS"} <= done.keys()
        assert set(done.values()) == {"done"}
