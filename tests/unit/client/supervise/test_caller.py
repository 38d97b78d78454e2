"""A thread as /proc shows it: here, this process looks at itself."""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nsbroker.supervise import caller


@pytest.fixture
def idle() -> Iterator[socket.socket]:
    """A Unix socket without a name or a peer."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        yield sock


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def test_own_network_is_that_of_every_thread_here() -> None:
    own = caller.own_network()
    assert caller.network_identity(str(os.getpid())) == own
    assert caller.network_identity("self") == own


def test_unknown_thread_has_no_network() -> None:
    """The number 0 means a thread of another pid namespace."""
    assert caller.network_identity("0") is None


@pytest.mark.parametrize(
    ("family", "protocol"), [(socket.AF_INET, "UDP"), (socket.AF_INET6, "UDPv6"), (socket.AF_UNIX, "UNIX")]
)
def test_socket_has_its_number_and_protocol(family: int, protocol: str) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        assert caller.read_socket(os.getpid(), sock.fileno()) == (inode(sock), protocol)


def test_descriptor_has_its_flags(idle: socket.socket) -> None:
    wanted = os.O_CLOEXEC | os.O_NONBLOCK
    assert caller.read_flags(os.getpid(), idle.fileno()) & wanted == os.O_CLOEXEC
    idle.setblocking(False)
    os.set_inheritable(idle.fileno(), True)
    assert caller.read_flags(os.getpid(), idle.fileno()) & wanted == os.O_NONBLOCK


def test_file_is_no_socket(tmp_path: Path) -> None:
    """Not even one whose name looks like it."""
    path = tmp_path / "socket:[1]"
    with path.open("w") as file:
        assert caller.read_socket(os.getpid(), file.fileno()) is None
    with pytest.raises(FileNotFoundError):
        caller.read_socket(os.getpid(), 10**6)


def test_unix_socket_is_idle_without_a_name_and_a_peer(idle: socket.socket, tmp_path: Path) -> None:
    assert caller.is_idle_unix_socket(inode(idle))
    idle.bind(str(tmp_path / " "))
    assert not caller.is_idle_unix_socket(inode(idle))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.connect(str(tmp_path / " "))
        assert not caller.is_idle_unix_socket(inode(other))
    one, two = socket.socketpair()
    with one, two:
        assert not caller.is_idle_unix_socket(inode(one))


def test_socket_that_is_not_listed_is_not_idle() -> None:
    """Those of other network namespaces and of other families are not."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not caller.is_idle_unix_socket(inode(sock))


def test_name_of_another_socket_harms_nobody(idle: socket.socket) -> None:
    """Every user chooses names, also with lines in them."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind("\0nsbroker-tests\n1\n\n a b\n")
        assert caller.is_idle_unix_socket(inode(idle))
        assert not caller.is_idle_unix_socket(inode(other))


def test_name_that_imitates_a_line_makes_no_socket_idle(idle: socket.socket) -> None:
    """The kernel lists sockets by hashes of their names, so some of the imitations come first."""
    idle.bind("")
    with ExitStack() as others:
        for number in range(64):
            other = others.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
            other.bind(f"\0nsbroker-tests-{os.getpid()}-{number}\n0: 2 0 0 2 01 {inode(idle)}")
        assert not caller.is_idle_unix_socket(inode(idle))


def test_memory_of_a_thread_is_read() -> None:
    buffer = ctypes.create_string_buffer(b"0123456789")
    assert caller.read_memory(os.getpid(), ctypes.addressof(buffer) + 2, 4) == b"2345"
    with pytest.raises(OSError, match="Input/output error"):
        caller.read_memory(os.getpid(), 1, 4)


def test_process_of_a_thread_is_opened() -> None:
    """A pidfd means a process, and a call can come from any of its threads."""
    opened: list[int] = []
    thread = threading.Thread(target=lambda: opened.append(caller.open_process(threading.get_native_id())))
    thread.start()
    thread.join()
    [pidfd] = opened
    try:
        assert f"Pid:\t{os.getpid()}\n" in Path(f"/proc/self/fdinfo/{pidfd}").read_text()
    finally:
        os.close(pidfd)
