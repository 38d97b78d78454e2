"""A broker that limits one user's sockets and not another's, so that each test shows the effect of the limit."""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import nsbroker
from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from support.brokers.process import BrokerProcess, running
from support.brokers.raw_client import connect_as
from support.far_side import FarSide, far_side
from support.namespaces import PREFIX
from support.users import GROUP, OTHER_USER, USER, as_user

LIMITED, FREE = USER, OTHER_USER
"""The two users."""

PORT, LAST_PORT, FORBIDDEN_PORT = 4000, 4009, 4010

CONNECT = [f"10.9.0.2:{PORT}-{LAST_PORT}", f"[fd09::2]:{PORT}-{LAST_PORT}", f"10.9.0.200:{PORT}"]
CONNECT += [f"239.9.9.9:{PORT}", f"[ff05::9:9]:{PORT}"]
CONNECT += [f"0.0.0.0/8:{PORT}", f"[::/96]:{PORT}"]  # which zeros as a destination do not fall under

LIMITS = f"""
[[grant]]
name = "limited"
users = [{LIMITED}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp", "udplite", "mptcp"]
limit.connect = {CONNECT}
limit.bind = ["*:80", "*:{PORT}-{LAST_PORT}"]

[[grant]]
name = "limited without ports"
users = [{LIMITED}]
namespaces = ["{PREFIX}*"]
sockets = ["icmp", "raw:icmp", "raw:icmpv6", "raw:udp"]
limit = {{ connect = ["10.9.0.2:*", "[fd09::2]:*", "10.9.0.3:{PORT}", "[fd09::3]:{PORT}"] }}

[[grant]]
name = "free"
users = [{FREE}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp", "udplite", "mptcp", "icmp", "raw:icmp", "raw:icmpv6", "raw:udp"]
bind = ["*:*"]
"""


class Place(NamedTuple):
    """A broker, and a cable with something to see at its end."""

    broker: BrokerProcess
    wire: FarSide


@contextmanager
def sealed_place(grants: str = LIMITS) -> Iterator[Place]:
    """Both of them."""
    with far_side() as wire, running(grants) as broker:
        yield Place(broker, wire)


Attempt = Callable[..., Any]
"""The use that a client makes of its socket, with further arguments."""


def attempt(place: Place, uid: int, spec: tuple[int, ...], function: Attempt, *args: Any) -> int:
    """Return the errno of this user's attempt, or 0."""
    number: int = as_user(uid, GROUP, _attempt, str(place.broker.socket_path), place.wire.near, spec, function, args)
    return number


def _attempt(path: str, name: str, spec: tuple[int, ...], function: Attempt, args: tuple[Any, ...]) -> int:
    with nsbroker.Client(path) as client:
        [sock] = client.open([SocketSpec(name, *spec)])
    sock.settimeout(10)
    with sock:
        try:
            function(sock, *args)
        except OSError as error:
            return error.errno or -1
    return 0


def check_way_out(
    place: Place, seen: str, spec: tuple[int, ...], function: Attempt, *args: Any, error: str | None = "EPERM"
) -> None:
    """Check that an unlimited socket reaches `seen` this way, and that a limited one gets an error and does not."""
    place.wire.destinations()
    attempt(place, FREE, spec, function, *args)
    assert _plain(seen) in place.wire.destinations(), "the test shows nothing: an unlimited socket does not get there"
    number = attempt(place, LIMITED, spec, function, *args)
    assert _plain(seen) not in place.wire.destinations()
    assert errno.errorcode.get(number) == error


def check_allowed(place: Place, seen: str, spec: tuple[int, ...], function: Attempt, *args: Any) -> None:
    """Check that a limited socket may do this, and that the packet arrives."""
    place.wire.destinations()
    assert attempt(place, LIMITED, spec, function, *args) == 0
    assert _plain(seen) in place.wire.destinations()


def _plain(address: str) -> str:
    return address.removeprefix("::ffff:")


def disconnect(sock: socket.socket) -> None:
    """Connect to an address of no family, which socket.connect can't."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.connect(sock.fileno(), struct.pack("=H14x", socket.AF_UNSPEC), 16) == 0


def open_as(place: Place, uid: int, spec: tuple[int, ...], name: str = "") -> socket.socket:
    """A socket of this user's, in the hands of this process."""
    with connect_as(uid, place.broker) as client:
        reply = client.ask(OpenRequest(1, (SocketSpec(name or place.wire.near, *spec),)))
        assert isinstance(reply, OpenReply), reply
        return socket.socket(fileno=client.fds.pop())
