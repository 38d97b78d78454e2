"""No socket lends root's power: not even to a program that root has marked setuid, and that writes where it is told."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nsbroker
from nsbroker import SocketSpec
from support.brokers.process import BrokerProcess
from support.inside import enter, path_of
from support.namespaces import PREFIX
from support.resident import CLONE_NEWNET, CLONE_NEWUSER, move_into_new
from support.users import GROUP, USER, as_user

NETLINK = (int(socket.AF_NETLINK), int(socket.SOCK_RAW), 0)
LOOPBACK = 1
IFF_UP = 1
RTM_SETLINK = 19
NLM_F_REQUEST_ACK = 5
_SIOCGIFFLAGS = 0x8913  # include/uapi/linux/sockios.h

GRANTS = f"""
[[grant]]
name = "netlink"
users = ["*"]
namespaces = ["{PREFIX}*"]
sockets = ["netlink:route"]
"""


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def setuid_cat(broker: BrokerProcess) -> Path:
    """A program of root's that copies its standard input to its standard output, and that everybody may run."""
    if os.statvfs(broker.directory).f_flag & os.ST_NOSUID:
        pytest.skip(f"a setuid program needs a file system without nosuid: {broker.directory}")
    program = broker.directory / "cat"
    shutil.copy(shutil.which("cat") or "/bin/cat", program)
    program.chmod(0o4755)
    return program


@pytest.fixture(params=["of the host", "of root's container"])
def name(request: pytest.FixtureRequest, make_namespace: Callable[..., str]) -> Iterator[str]:
    """A namespace that belongs to the user namespace of the host, or to one that root made."""
    if request.param == "of the host":
        yield make_namespace("0")
    else:
        with _container() as name:
            yield name


@contextmanager
def _container() -> Iterator[str]:
    path = Path(path_of(f"{PREFIX}container"))
    with subprocess.Popen(
        ["sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=lambda: move_into_new(CLONE_NEWUSER | CLONE_NEWNET),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        path.touch()
        try:
            subprocess.run(["mount", "--bind", f"/proc/{process.pid}/ns/net", str(path)], check=True)
            yield path.name
        finally:
            process.stdin.close()
            subprocess.run(["umount", "-q", "-l", str(path)], check=False)
            path.unlink()


def set_link(index: int, flags: int) -> bytes:
    """A message that sets the interface's IFF_UP. Source: rtnetlink(7)."""
    link = struct.pack("=BxHiII", 0, 0, index, flags, IFF_UP)
    return struct.pack("=IHHII", 16 + len(link), RTM_SETLINK, NLM_F_REQUEST_ACK, 1, 0) + link


def write_through(program: Path, message: bytes, sock: socket.socket) -> int:
    """Have the program write the message to the socket, and return the errno of the kernel's answer."""
    sock.settimeout(60)
    subprocess.run([program], input=message, stdout=sock.fileno(), check=True)
    answer = sock.recv(4096)
    return -int(struct.unpack_from("=i", answer, 16)[0])


def is_up(name: str) -> bool:
    """Whether the loopback interface is up there."""
    return bool(as_user(0, 0, _is_up, path_of(name)))


def _is_up(path: str) -> bool:
    enter(path)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        asked = fcntl.ioctl(sock, _SIOCGIFFLAGS, struct.pack("=16sH14x", b"lo", 0))
    return bool(struct.unpack_from("=H", asked, 16)[0] & IFF_UP)


def _through_the_brokers(program: Path, message: bytes, broker: str, name: str) -> int:
    with nsbroker.Client(broker) as client:
        [sock] = client.open([SocketSpec(name, *NETLINK)])
    with sock:
        return write_through(program, message, sock)


def _through_roots(program: Path, message: bytes, path: str) -> int:
    enter(path)
    with socket.socket(*NETLINK) as sock:
        return int(as_user(USER, GROUP, write_through, program, message, sock))


def test_setuid_program_cant_change_a_link_by_the_brokers_netlink_socket(
    broker: BrokerProcess, setuid_cat: Path, name: str
) -> None:
    """Through a socket that root opened, the program can. Otherwise this test would prove little."""
    was_up = is_up(name)
    message = set_link(LOOPBACK, 0 if was_up else IFF_UP)
    for uid in (USER, 0):
        path = str(broker.socket_path)
        assert as_user(uid, GROUP, _through_the_brokers, setuid_cat, message, path, name) == errno.EPERM
        assert is_up(name) is was_up
    assert as_user(0, 0, _through_roots, setuid_cat, message, path_of(name)) == 0
    assert is_up(name) is not was_up


def test_netlink_socket_reads_what_everybody_may(broker: BrokerProcess, make_namespace: Callable[..., str]) -> None:
    """It is of use: the list of interfaces comes."""
    links = as_user(USER, GROUP, _list_links, str(broker.socket_path), make_namespace("0"))
    assert b"lo\0" in links


def _list_links(broker: str, name: str) -> bytes:
    with nsbroker.Client(broker) as client:
        [sock] = client.open([SocketSpec(name, *NETLINK)])
    with sock:
        assert os.fstat(sock.fileno()).st_uid == USER
        sock.settimeout(60)
        sock.send(struct.pack("=IHHIIB15x", 32, 18, 0x301, 1, 0, 0))  # RTM_GETLINK, a dump
        return sock.recv(65536)
