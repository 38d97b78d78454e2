"""Requests that take long delay their own user: other users are served in between."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import msgpack
import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest, Reply, encode_request
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import TCP, RawClient, connect_as, tcp
from support.inside import path_of
from support.namespaces import PREFIX
from support.process_state import stopped
from support.users import OTHER_USER, USER
from support.waiting import wait_until

REQUESTS = 3
PORT, OTHER_PORT = 5000, 5001
HELD, HOLDERS = 24000, 4
SO_REUSEADDR = (1, 2, 1)

GARBAGE = msgpack.packb({"v": 1, "id": 1, "op": "open", "sockets": [[[{}] * 1000] * 60]})
LISTENERS = encode_request(OpenRequest(1, (SocketSpec("@host", *TCP, 0, ("127.0.0.1", 0), 1),) * 253))


@pytest.mark.parametrize("packet", [GARBAGE, LISTENERS])
def test_other_users_are_served_before_a_large_request_has_ended(
    start_broker: Callable[..., BrokerProcess], packet: bytes
) -> None:
    """The audit says in which order requests ended: all of them were there before the first one was served."""
    broker = start_broker()
    with connect_as(OTHER_USER, broker) as modest, connect_as(USER, broker) as greedy:
        for _ in range(100):  # so that the greedy user has used less, and comes first
            assert modest.works()
        before = len(broker.audit())
        with stopped(broker.pid):
            greedy.send(packet)
            for _ in range(REQUESTS):
                modest.send(tcp("@host"))
        for client in (*[modest] * REQUESTS, greedy):
            client.receive()
            client.close_fds()
        assert [record["uid"] for record in broker.audit()[before:]] == [OTHER_USER] * REQUESTS + [USER]


HOLD = """
import resource, socket, sys
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
count, port, place = map(int, sys.argv[1:])
held = []
for number in range(count):
    held.append(sock := socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((f"127.{place}.{number // 250}.{number % 250 + 1}", port))
with socket.socket() as sock:
    sock.bind((f"127.{place}.250.1", port))
print(flush=True)
sys.stdin.read()
"""
"""Holds sockets of one port. The last one makes the kernel look at all of them from then on."""

GRANTS = f"""
[[grant]]
name = "limited"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp"]
limit = {{ bind = ["*:{PORT}"], connect = ["127.0.0.1:{PORT}"] }}

[[grant]]
name = "free"
users = [{OTHER_USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp"]
"""


@contextmanager
def slow_port(name: str) -> Iterator[None]:
    """Make binding to PORT slow in a namespace."""
    command = ["nsenter", f"--net={path_of(name)}", sys.executable, "-c", HOLD, str(HELD // HOLDERS), str(PORT)]
    with ExitStack() as stack:
        for place in range(1, HOLDERS + 1):
            process = stack.enter_context(
                subprocess.Popen([*command, str(place)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            assert process.stdin is not None
            assert process.stdout is not None
            stack.callback(process.stdin.close)
            assert process.stdout.readline()
        yield


def threads(broker: BrokerProcess) -> int:
    return len(os.listdir(f"/proc/{broker.pid}/task"))


@pytest.mark.parametrize("user", [USER, OTHER_USER])
def test_user_whose_binds_are_slow_binds_in_a_thread(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str], user: int
) -> None:
    """The socket is its user's there as well, and a limit holds."""
    broker = start_broker(GRANTS)
    name = make_namespace()

    def bind(client: RawClient) -> Reply | None:
        return client.ask(OpenRequest(1, (SocketSpec(name, *TCP, 0, ("0.0.0.0", PORT), None, (SO_REUSEADDR,)),)))

    with slow_port(name), connect_as(user, broker) as client:
        before = threads(broker)

        def is_in_a_thread() -> bool:
            reply = bind(client)
            assert isinstance(reply, OpenReply)
            assert os.fstat(client.fds[-1]).st_uid == user
            client.close_fds()
            return threads(broker) > before

        wait_until(is_in_a_thread)
        assert isinstance(bind(client), OpenReply)
        with socket.socket(fileno=client.fds.pop()) as sock:
            # Without a listener, an allowed connection is refused by its other end.
            expected = PermissionError if user == USER else ConnectionRefusedError
            with pytest.raises(expected):
                sock.connect(("127.0.0.1", OTHER_PORT))
        assert isinstance(client.ask(tcp(name)), OpenReply)
