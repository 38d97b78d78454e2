"""A client whose memory never becomes readable harms itself alone: FUSE, userfaultfd, and both of them together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from collections.abc import Callable

import pytest

from nsbroker.wire import BAD_REQUEST, NO_SUCH_NAMESPACE, ErrorReply
from support import fuse_server
from support.brokers.limited import grant
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import RawClient, connect_as, tcp
from support.fuse_server import FuseServer
from support.process_state import has_hanging_thread, porters_of, state, stopped
from support.unreadable import map_unreadable, receive_unwritable, send_unreadable
from support.users import GROUP, OTHER_USER, USER, start_as_user
from support.waiting import wait_until

pytestmark = pytest.mark.skipif(fuse_server.why_not() is not None, reason=str(fuse_server.why_not()))

_SYS_USERFAULTFD = 323  # x86_64
_UFFD_USER_MODE_ONLY = 1
_PR_SET_DUMPABLE = 4

_libc = ctypes.CDLL(None, use_errno=True)


def _send_a_request(path: str, file: str) -> None:
    with RawClient(path) as client:
        assert client.works()
        send_unreadable(client.sock, file)


def _receive_a_reply(path: str, file: str) -> None:
    with RawClient(path) as client:
        assert client.works()
        client.send(tcp("@host"))
        client.send(tcp("@host"))
        receive_unwritable(client.sock, file)


def _receive_descriptors(path: str, file: str) -> None:
    with RawClient(path) as client:
        assert client.works()
        assert client.channel is not None
        client.send(tcp("@host"))
        client.send(tcp("@host"))
        client.receive_alone()  # the channel never blocks: wait until it has the descriptors
        receive_unwritable(client.channel, file)


@pytest.mark.parametrize("hang", [_send_a_request, _receive_a_reply, _receive_descriptors])
def test_client_that_hangs_in_a_call_holds_up_nobody(
    broker: BrokerProcess, server: FuseServer, hang: Callable[[str, str], None]
) -> None:
    """Another user and the same user are served, and the broker reloads and stops meanwhile."""
    child = start_as_user(USER, GROUP, hang, str(broker.socket_path), str(server.path))
    try:
        wait_until(lambda: server.reads[0] > 0)
        for uid in (OTHER_USER, USER):
            with connect_as(uid, broker) as client:
                assert client.works()
        broker.reload()
        broker.stop()
    finally:
        server.kill()
        child.kill()


def _make_userfaultfd() -> int:
    """Return a descriptor whose last close waits for the memory of this process."""
    fd = int(_libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC | _UFFD_USER_MODE_ONLY))
    if fd < 0:
        raise OSError(ctypes.get_errno(), "userfaultfd")
    api = (ctypes.c_uint64 * 3)(0xAA, 0, 0)
    assert _libc.ioctl(fd, ctypes.c_ulong(0xC018AA3F), ctypes.byref(api)) == 0
    return fd


def _hang_with(connection: socket.socket, file: str) -> None:
    """Send a userfaultfd of this process, and read its memory in a way that keeps the memory's lock."""
    fd = _make_userfaultfd()
    address = map_unreadable(file)
    socket.send_fds(connection, [b"x"], [fd])
    os.close(fd)
    _libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0)  # without this, /proc/self is root's after the change of ids
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        memory.seek(address)
        memory.read(1)


@pytest.mark.parametrize("is_read", [True, False])
def test_userfaultfd_of_memory_that_hangs_holds_up_its_user_alone(
    broker: BrokerProcess, server: FuseServer, is_read: bool
) -> None:
    """Closing it waits for the lock of the process's memory, which waits for the file system.

    So does dropping a packet with it that nobody has read. Meanwhile the broker can end.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, connect_as(OTHER_USER, broker) as witness:
        assert witness.works()
        child = start_as_user(USER, GROUP, _hang_with, theirs, str(server.path))
        try:
            _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
            wait_until(lambda: server.reads[0] > 0)
            with connect_as(USER, broker) as client:
                with stopped(broker.pid):  # so that the copy of the packet is the last one
                    client.send(tcp(0) if is_read else b"no request", [fd])
                    os.close(fd)
                reply = client.receive()
                assert isinstance(reply, ErrorReply)
                assert reply.code == (NO_SUCH_NAMESPACE if is_read else BAD_REQUEST)
                wait_until(lambda: any(map(has_hanging_thread, porters_of(broker.pid))))
                (porter,) = porters_of(broker.pid)
                assert witness.works()
                assert not has_hanging_thread(broker.pid)
                broker.stop()
                broker.start()
                assert has_hanging_thread(porter)
                server.kill()
                wait_until(lambda: not os.path.exists(f"/proc/{porter}"))
        finally:
            server.kill()
            child.kill()


LIMITED = grant(connect=["10.9.0.2:4000"], sockets=["tcp"])


def test_next_broker_starts_while_one_that_was_killed_can_not_end(
    start_broker: Callable[..., BrokerProcess], make_namespace: Callable[..., str]
) -> None:
    """The kernel drops the packets that it had not looked at. The other one has neither its socket nor its locks."""
    name, broker = make_namespace(), start_broker(LIMITED)
    directory = broker.directory / "fuse"
    directory.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs, FuseServer(directory, USER, GROUP) as server:
        child = start_as_user(USER, GROUP, _hang_with, theirs, str(server.path))
        killed = broker.process
        assert killed is not None
        try:
            _, (fd,), _, _ = socket.recv_fds(ours, 1, 1)
            wait_until(lambda: server.reads[0] > 0)
            with connect_as(USER, broker) as client:
                killed.send_signal(signal.SIGSTOP)
                wait_until(lambda: state(killed.pid) == "T")
                client.send(tcp(0), [fd])
                os.close(fd)
                killed.kill()
                wait_until(lambda: has_hanging_thread(killed.pid))
            broker._notify.close()
            broker.start()
            assert has_hanging_thread(killed.pid)
            with connect_as(OTHER_USER, broker) as client:
                assert client.works(name)
        finally:
            server.kill()
            child.kill()
            killed.wait()
