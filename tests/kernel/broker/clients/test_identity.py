"""The broker knows a client by the ids that its process had when it connected, whatever the process does later."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nsbroker.wire import DENIED, ErrorReply, OpenReply, encode_request
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.namespaces import PREFIX
from support.process_state import stopped
from support.users import GROUP, OTHER_USER, UIDS, USER, as_user, start_as_user
from support.waiting import Counters, wait_until

GRANTS = f"""
[[grant]]
name = "one user's"
users = [{USER}]
namespaces = ["{PREFIX}*"]
sockets = ["tcp"]
"""
"""It has no grant for root."""

CALLERS, PROGRAMS, OTHERS = UIDS[2:5]
"""Groups of these numbers, which no user has by itself."""


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


def _connect_and_become(path: str, before: int, after: int, name: str, step: Counters) -> str | None:
    """Connect as the one user, ask as the other, and return the code of the refusal."""
    os.setegid(GROUP)
    os.setresuid(before, before, 0)
    with RawClient(path) as client:
        os.seteuid(0)
        os.setresuid(after, after, after)
        step[0] = 1
        reply = client.ask(tcp(name))
        return reply.code if isinstance(reply, ErrorReply) else None


@pytest.mark.parametrize(
    ("before", "after", "code"),
    [(USER, OTHER_USER, None), (USER, 0, None), (OTHER_USER, USER, DENIED), (0, USER, DENIED)],
)
def test_ids_at_the_connect_count(broker: BrokerProcess, name: str, before: int, after: int, code: str | None) -> None:
    """The process changes its ids before the broker accepts the connection, and asks with the new ones."""
    step = Counters(1)
    with stopped(broker.pid):
        child = start_as_user(0, 0, _connect_and_become, str(broker.socket_path), before, after, name, step)
        wait_until(lambda: step[0] == 1)
    assert child.result() == code
    assert [record["uid"] for record in broker.audit()] == [before]


def test_socket_belongs_to_the_user_that_connected(broker: BrokerProcess, name: str) -> None:
    """Whoever holds the connection by now, for example a setuid program that got it as its standard input."""
    with connect_as(USER, broker) as client:
        assert as_user(OTHER_USER, GROUP, _ask_by_foreign_connection, client.sock, name) == USER


def _ask_by_foreign_connection(sock: socket.socket, name: str) -> int:
    client = RawClient.__new__(RawClient)
    client.sock, client.fds, client.channel = sock, [], None
    reply = client.ask(tcp(name))
    assert isinstance(reply, OpenReply), reply
    return os.fstat(client.fds[0]).st_uid


@contextmanager
def python_of(directory: Path, uid: int, gid: int, mode: int) -> Iterator[Path]:
    """A copy of Python with this owner, which is setuid or setgid."""
    if os.statvfs(directory).f_flag & os.ST_NOSUID:
        pytest.skip(f"a setuid program needs a file system without nosuid: {directory}")
    program = directory / "python"
    shutil.copy(os.path.realpath(sys.executable), program)
    os.chown(program, uid, gid)
    program.chmod(mode)
    try:
        yield program
    finally:
        program.unlink()


CONNECT = """
import os, socket, sys
if sys.argv[2] == "give up":
    os.seteuid(os.getuid())
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(sys.argv[1])
sock.send(bytes.fromhex(sys.argv[3]))
sock.recv(65536)
"""


def _run(command: list[str]) -> int:
    return subprocess.run(command, cwd="/", check=False).returncode


def connect_by(program: Path, broker: BrokerProcess, name: str, what: str = "keep") -> int:
    """Let the other user run the program, which asks for a socket. Return the program's exit status."""
    command = [str(program), "-I", "-c", CONNECT, str(broker.socket_path), what, encode_request(tcp(name)).hex()]
    return int(as_user(OTHER_USER, GROUP, _run, command, groups=[GROUP, CALLERS]))


@pytest.mark.parametrize(("what", "expected"), [("keep", USER), ("give up", OTHER_USER)])
def test_setuid_program_is_its_effective_user(broker: BrokerProcess, name: str, what: str, expected: int) -> None:
    """It has the grants of its owner, unless it gives the effective uid up before it connects."""
    with python_of(broker.directory, USER, GROUP, 0o4755) as program:
        assert connect_by(program, broker, name, what) == 0
    [record] = broker.audit()
    assert (record["uid"], record["outcome"]) == (expected, "allowed" if expected == USER else "denied")


@pytest.mark.parametrize(("group", "outcome"), [(CALLERS, "allowed"), (PROGRAMS, "allowed"), (OTHERS, "denied")])
def test_setgid_program_has_its_own_group_and_those_of_its_caller(
    start_broker: Callable[..., BrokerProcess], name: str, group: int, outcome: str
) -> None:
    broker = start_broker(GRANTS.replace(f"users = [{USER}]", f"groups = [{group}]"))
    with python_of(broker.directory, 0, PROGRAMS, 0o2755) as program:
        assert connect_by(program, broker, name) == 0
    [record] = broker.audit()
    assert (record["uid"], record["gid"], record["outcome"]) == (OTHER_USER, PROGRAMS, outcome)
