"""`nsbrokerd revoke` does its work although a client holds a socket's lock forever."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from support import fuse_server
from support.brokers.limited import LOOPBACK, error_of, grant, listed, open_limited, plain_socket
from support.brokers.process import BrokerProcess
from support.fuse_server import FuseServer
from support.socket_listing import needs_listing
from support.unreadable import send_unreadable
from support.users import GROUP, OTHER_USER, USER, Child, start_as_user
from support.waiting import wait_until

GRANTS = grant("streams", connect=["*:*"], sockets=["tcp"])
PATIENCE_S = 30
"""For the command that must not wait, and would wait forever."""

OTHERS = 40
"""So many that hardly all of them would happen to come before the one that is held."""

pytestmark = [
    needs_listing,
    pytest.mark.skipif(fuse_server.why_not() is not None, reason=str(fuse_server.why_not())),
]


class Held:
    """Connections of two users in one namespace. The first user's program sends what the kernel can't read."""

    def __init__(self, broker: BrokerProcess, name: str, stack: ExitStack) -> None:
        listener = stack.enter_context(plain_socket(name, socket.SOCK_STREAM, 5000))
        self.mine, *self.others = (
            stack.enter_context(open_limited(broker, name, socket.SOCK_STREAM, uid=uid))
            for uid in (USER, *[OTHER_USER] * OTHERS)
        )
        self.peers = []
        for sock in (self.mine, *self.others):
            sock.connect((LOOPBACK, 5000))
            self.peers.append(stack.enter_context(listener.accept()[0]))
        directory = broker.directory / "fuse"
        directory.mkdir()
        self.server = stack.enter_context(FuseServer(directory, USER, GROUP))
        self.holder: Child | None = start_as_user(USER, GROUP, send_unreadable, self.mine, str(self.server.path))
        stack.callback(self.release)
        wait_until(lambda: self.server.reads[0] > 0)

    def release(self) -> None:
        """End the file system, and so the call."""
        if self.holder is not None:
            self.server.kill()
            self.holder.kill()
            self.holder = None


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def held(broker: BrokerProcess, make_namespace: Callable[..., str]) -> Iterator[Held]:
    with ExitStack() as stack:
        yield Held(broker, make_namespace(), stack)


def revoke(broker: BrokerProcess, held: Held, *arguments: str) -> str:
    """Return what the command prints until the end of its output. If it waits forever, the test fails."""
    line = [sys.executable, "-P", "-m", "nsbrokerd", "revoke", "--config", str(broker.config_path), *arguments]
    text = b""
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        while True:
            if not select.select([process.stdout], [], [], PATIENCE_S)[0]:
                held.release()
                process.kill()
                raise AssertionError(f"the command, or a child of it, waits for the client's call: {text!r}")
            part = os.read(process.stdout.fileno(), 4096)
            if not part:
                return text.decode()
            text += part


def test_socket_in_a_call_that_never_ends_holds_up_no_revocation(broker: BrokerProcess, held: Held) -> None:
    """All are revoked. The other user's connection ends, and the held one ends once the call ends."""
    said = revoke(broker, held, "--grant", "streams")
    assert f"{OTHERS + 1} sockets revoked, {OTHERS} TCP sockets ended" in said
    assert "1 TCP sockets are in calls of programs that do not end" in said
    assert {row["revoked"] for row in listed(broker)} == {True}
    assert {error_of(sock.recv, 1, socket.MSG_DONTWAIT) for sock in held.others} == {"ECONNABORTED"}
    assert {error_of(peer.recv, 1) for peer in held.peers[1:]} == {"ECONNRESET"}
    held.release()
    wait_until(lambda: error_of(held.mine.recv, 1, socket.MSG_DONTWAIT) == "ECONNABORTED")
