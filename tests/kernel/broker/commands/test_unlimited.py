"""Sockets of grants without a limit: `sockets` lists them while they are open, and `revoke` names their holders."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import Address, OpenReply, OpenRequest
from nsbrokerd.sockets.listing import list_sockets
from support.brokers.commands import run_command
from support.brokers.limited import grant, open_limited, plain_socket
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as
from support.far_side import socket_inside
from support.inside import socket_cookie
from support.users import OTHER_USER, USER
from support.waiting import wait_until

NETLINK_SOCK_DIAG = 4

GRANT = grant("free", sockets=("tcp", "udp", "icmp", "packet", "unix", "raw:icmp", "netlink:route"))


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess], name: str) -> BrokerProcess:
    return start_broker(GRANT)


def open_socket(broker: BrokerProcess, spec: SocketSpec, uid: int = USER) -> socket.socket:
    with connect_as(uid, broker) as client:
        reply = client.ask(OpenRequest(1, (spec,)))
        assert isinstance(reply, OpenReply), reply
        return socket.socket(fileno=client.fds.pop())


def listed(broker: BrokerProcess) -> tuple[dict[int, dict[str, Any]], str]:
    """The rows by their cookies, and what standard error says."""
    done = run_command(broker, "sockets", "--json")
    assert done.returncode == 0, done.stderr
    return {row["cookie"]: row for row in json.loads(done.stdout)}, done.stderr


KINDS: dict[str, tuple[int, int, int, Address | None]] = {
    "udp": (socket.AF_INET, socket.SOCK_DGRAM, 0, ("127.0.0.1", 5353)),
    "tcp": (socket.AF_INET6, socket.SOCK_STREAM, 0, ("::1", 8080, 0, 0)),
    "packet": (socket.AF_PACKET, socket.SOCK_RAW, 0, None),
    "unix": (socket.AF_UNIX, socket.SOCK_STREAM, 0, None),
    "netlink:route": (socket.AF_NETLINK, socket.SOCK_RAW, 0, None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_socket_of_each_kind_is_listed_until_it_is_closed(broker: BrokerProcess, name: str, kind: str) -> None:
    """With the process that holds it."""
    family, type_, protocol, address = KINDS[kind]
    listens = None if address is None or type_ == socket.SOCK_DGRAM else 5
    spec = SocketSpec(name, int(family), int(type_), protocol, bind=address, listen=listens)
    with open_socket(broker, spec) as sock:
        if kind == "netlink:route":
            sock.bind((0, 0))
        cookie = socket_cookie(sock)
        rows, _ = listed(broker)
        row = rows[cookie]
        assert (row["uid"], row["grant"], row["namespace"], row["kind"]) == (USER, "free", name, kind)
        assert (row["is_limited"], row["pids"]) == (False, [os.getpid()])
        local = list(address[:2]) if isinstance(address, tuple) else None
        assert (row["local"], row["remote"]) == (local, None)
    assert cookie not in listed(broker)[0]


def test_closed_socket_whose_connection_the_kernel_still_knows_is_not_listed(broker: BrokerProcess, name: str) -> None:
    """It is in TIME_WAIT, and no process has it."""
    with (
        plain_socket(name, socket.SOCK_STREAM, 4000) as listener,
        open_limited(broker, name, socket.SOCK_STREAM) as sock,
    ):
        sock.connect(listener.getsockname())
        cookie = socket_cookie(sock)
        assert cookie in listed(broker)[0]
        with listener.accept()[0] as accepted:
            sock.close()
            assert accepted.recv(1) == b""
        with socket_inside(name, socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as diag:
            wait_until(lambda: list_sockets(diag, ["tcp"])[0][cookie].inode == 0)
        assert cookie not in listed(broker)[0]
        assert "can't be revoked" not in run_command(broker, "revoke", "--user", str(USER)).stdout


def test_what_the_kernel_does_not_list_is_counted(broker: BrokerProcess, name: str) -> None:
    """A TCP socket that was never used, and a kind that has no list. The command says that they can be open."""
    icmp = SocketSpec(name, int(socket.AF_INET), int(socket.SOCK_RAW), int(socket.IPPROTO_ICMP))
    with open_limited(broker, name, socket.SOCK_STREAM):
        rows, said = listed(broker)
        assert rows == {}
        assert "1 socket of grants without a limit can be open or closed" in said
        with open_socket(broker, icmp) as sock:
            rows, said = listed(broker)
            if socket_cookie(sock) not in rows:
                assert "2 sockets of grants without a limit can be open or closed" in said
                assert "and none of the kinds raw:icmp" in said


def test_table_says_what_is_known(broker: BrokerProcess, name: str) -> None:
    with open_limited(broker, name, bind=("127.0.0.1", 9999)):
        done = run_command(broker, "sockets")
    assert "are known since the start of the broker (20" in done.stderr
    text = done.stdout
    assert "127.0.0.1:9999" in text
    assert "no limit" in text


def test_revoke_names_what_it_cant_stop(broker: BrokerProcess, name: str) -> None:
    """And fails, also if it has revoked others. Sockets of other users and grants are not meant."""
    with (
        open_limited(broker, name, bind=("127.0.0.1", 1025), uid=USER),
        open_limited(broker, name, bind=("127.0.0.1", 1026), uid=USER),
        open_limited(broker, name, bind=("127.0.0.1", 1027), uid=OTHER_USER),
    ):
        done = run_command(broker, "revoke", "--user", str(USER))
        assert done.returncode == 1
        assert done.stdout.splitlines() == [
            "0 sockets revoked, 0 TCP sockets ended",
            "2 sockets of grants without a limit can't be revoked:",
            f"  2 sockets of {USER} by grant 'free' in {name}, in the processes {os.getpid()}",
        ]
        done = run_command(broker, "revoke", "--user", str(USER), "--grant", "other")
        assert "can't be revoked" not in done.stdout
        done = run_command(broker, "revoke", "--namespace", name)
        assert "3 sockets of grants without a limit can't be revoked" in done.stdout


def test_commands_do_without_a_broker_that_hangs_or_is_gone(broker: BrokerProcess) -> None:
    """They say what they don't know then."""
    broker.stop()
    for command in (("sockets",), ("revoke", "--grant", "x")):
        done = run_command(broker, *command)
        assert "sockets of grants without a limit are not known" in done.stdout + done.stderr
        assert "no broker listens at" in done.stdout + done.stderr
