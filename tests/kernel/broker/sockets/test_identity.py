"""A socket from the broker belongs to its client: for ports, firewalls, other programs, and its peers."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
from collections.abc import Callable

import pytest

import nsbroker
from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import TCP, UDP, connect_as
from support.inside import call_inside
from support.namespaces import PREFIX, ip
from support.users import GROUP, OTHER_USER, USER, start_as_user
from support.waiting import Counters, wait_until

LOW, HIGH = 80, 8080
SO_REUSEPORT = (int(socket.SOL_SOCKET), int(socket.SO_REUSEPORT), 1)

GRANTS = f"""
[[grant]]
name = "low ports"
users = ["*"]
namespaces = ["{PREFIX}*"]
sockets = ["tcp", "udp", "unix"]
bind = ["*:{LOW}"]
"""
NFT_RULES = f"""
table inet t {{
  counter of_the_user {{ }}
  counter of_root {{ }}
  chain c {{
    type filter hook output priority 0;
    meta skuid {USER} counter name of_the_user
    meta skuid 0 counter name of_root
  }}
}}
"""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace("0")


def open_as(uid: int, broker: BrokerProcess, spec: SocketSpec) -> socket.socket:
    with connect_as(uid, broker) as client:
        reply = client.ask(OpenRequest(1, (spec,)))
        assert isinstance(reply, OpenReply), reply
        return socket.socket(fileno=client.fds.pop())


@pytest.mark.parametrize("port", [LOW, HIGH])
@pytest.mark.parametrize(("kind", "backlog"), [(TCP, 1), (UDP, None)])
def test_port_is_shared_by_the_sockets_of_one_user_alone(
    broker: BrokerProcess, name: str, kind: tuple[int, int], backlog: int | None, port: int
) -> None:
    """SO_REUSEPORT does not help another user, whether the broker binds the port with its own rights or without."""
    request = OpenRequest(1, (SocketSpec(name, *kind, 0, ("127.0.0.1", port), backlog, (SO_REUSEPORT,)),))
    with connect_as(USER, broker) as first, connect_as(USER, broker) as again, connect_as(OTHER_USER, broker) as other:
        assert isinstance(first.ask(request), OpenReply)
        assert isinstance(again.ask(request), OpenReply)
        for thief in (other, connect_as(0, broker)):
            with thief:
                refusal = thief.refusal(request)
                assert (refusal.errno, refusal.spec_index) == (errno.EADDRINUSE, 0)


def test_socket_is_its_clients_for_the_kernel(broker: BrokerProcess, name: str) -> None:
    """In /proc/net, which has it in the eighth column, and as the owner of the descriptor."""
    with open_as(USER, broker, SocketSpec(name, *TCP, bind=("127.0.0.1", LOW), listen=1)) as sock:
        [line] = ip("netns", "exec", name, "cat", "/proc/net/tcp").splitlines()[1:]
        assert int(line.split()[7]) == USER
        status = os.fstat(sock.fileno())
        assert (status.st_uid, status.st_gid) == (USER, GROUP)


@pytest.mark.skipif(shutil.which("nft") is None, reason="what a firewall sees needs the command nft (nftables)")
def test_firewall_sees_the_client(broker: BrokerProcess, name: str) -> None:
    """The rule is on skuid, the user that opened the socket. A later fchown would not suffice."""
    ip("netns", "exec", name, "nft", NFT_RULES)
    with open_as(USER, broker, SocketSpec(name, *UDP)) as mine, open_as(0, broker, SocketSpec(name, *UDP)) as roots:
        mine.sendto(b"x", ("127.0.0.1", 9))
        roots.sendto(b"x", ("127.0.0.1", 9))
        roots.sendto(b"x", ("127.0.0.1", 9))
    counters = ip("netns", "exec", name, "nft", "list", "counters").split("counter ")
    packets = {counter.split()[0]: counter.split()[3] for counter in counters[1:]}
    assert packets == {"of_the_user": "1", "of_root": "2"}


def test_peers_of_an_abstract_unix_listener_see_the_client(broker: BrokerProcess, name: str) -> None:
    """The broker binds the socket, but the client listens, so SO_PEERCRED names the client."""
    listening = Counters(1)
    child = start_as_user(USER, GROUP, _accept_one, str(broker.socket_path), name, listening)
    wait_until(lambda: listening[0] == 1)
    pid, uid, gid = call_inside(name, _peer_of_abstract)
    assert (pid, uid, gid) == (child.pid, USER, GROUP)
    assert child.result() == b"hello"


def _accept_one(path: str, name: str, listening: Counters) -> bytes:
    with nsbroker.Client(path) as client:
        [sock] = client.open([SocketSpec(name, int(socket.AF_UNIX), int(socket.SOCK_STREAM), bind=b"service")])
    sock.listen()
    listening[0] = 1
    return sock.accept()[0].recv(99)


def _peer_of_abstract() -> tuple[int, int, int]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect("\0service")
        sock.send(b"hello")
        pid, uid, gid = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return pid, uid, gid
