"""The broker closes descriptors that are no network namespace or that no request uses, and keeps no client waiting."""

from __future__ import annotations

import ctypes
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from nsbroker.wire import BAD_REQUEST, NO_SUCH_NAMESPACE, OVERLOADED, ErrorReply, OpenReply
from nsbrokerd.clients.porter import GATHERED
from support import fuse_server
from support.brokers.process import EVERYTHING, BrokerProcess
from support.brokers.raw_client import MAX_FDS, RawClient, netns_of, tcp
from support.fuse_server import FuseServer
from support.inside import cookie_inside, path_of
from support.process_state import idle_descriptors, stopped
from support.users import GROUP, USER, as_unprivileged
from support.waiting import wait_until

LINGER_S = 36_000
CLONE_NEWNET = 0x40000000


def vanished() -> int:
    """A sysctl of a deleted network namespace. The kernel does not even return its inode number."""
    ours, childs = socket.socketpair()
    with ours, childs:
        if os.fork() == 0:
            try:
                if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
                    fd = os.open("/proc/sys/net/ipv4/conf/lo/forwarding", os.O_RDONLY)
                    socket.send_fds(childs, [b"fd"], [fd])
            finally:
                os._exit(0)
        _, (fd,), _, _ = socket.recv_fds(ours, 2, 1)
    os.wait()
    wait_until(lambda: not _has_status(fd))
    return fd


def _has_status(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


FOREIGN: dict[str, Callable[[], int]] = {
    "a regular file": lambda: os.open(__file__, os.O_RDONLY),
    "a directory": lambda: os.open("/run", os.O_RDONLY),
    "a device": lambda: os.open("/dev/null", os.O_RDONLY),
    "a pidfd": lambda: os.pidfd_open(os.getpid()),
    "a pid namespace": lambda: os.open("/proc/self/ns/pid", os.O_RDONLY),
    "a user namespace": lambda: os.open("/proc/self/ns/user", os.O_RDONLY),
    "a socket": lambda: socket.socket().detach(),
    "a network namespace that is not open": lambda: os.open("/proc/self/ns/net", os.O_PATH),
    "an event": lambda: os.eventfd(0),
    "a file that is gone": vanished,
}


@pytest.fixture(scope="module")
def broker(shared_broker: BrokerProcess) -> BrokerProcess:
    return shared_broker


@pytest.fixture
def clean(broker: BrokerProcess, make_namespace: Callable[..., str]) -> Iterator[RawClient]:
    """Another client. At the end it is served as before, and the broker has the same descriptors as before."""
    with RawClient(broker) as witness, open(path_of(make_namespace("any"))) as namespace:
        assert isinstance(witness.ask(tcp(0), [namespace.fileno()]), OpenReply)  # from here on it watches the mounts
        witness.close_fds()
        before = idle_descriptors(broker.pid)
        yield witness
        assert witness.works()

        def is_clean() -> bool:
            assert witness.refusal(tcp(0), [0]).code == NO_SUCH_NAMESPACE  # so that its porter does not end
            return idle_descriptors(broker.pid) == before

        wait_until(is_clean)


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_network_namespace_is_no_such_namespace(
    broker: BrokerProcess, clean: RawClient, make: Callable[[], int]
) -> None:
    fd, home = make(), os.open("/proc/self/ns/net", os.O_RDONLY)
    try:
        with RawClient(broker) as client:
            assert client.refusal(tcp(0), [fd]).code == NO_SUCH_NAMESPACE
            assert client.refusal(tcp(0, 1), [home, fd]).code == NO_SUCH_NAMESPACE
            assert client.works()
    finally:
        os.close(fd)
        os.close(home)


@pytest.mark.parametrize(("named", "sent"), [(0, 1), (0, MAX_FDS), (1, 2), (1, MAX_FDS), (16, 17)])
def test_descriptors_that_nobody_asked_for_end_the_connection(
    broker: BrokerProcess, clean: RawClient, named: int, sent: int
) -> None:
    """The refusal has the reason, and the broker carries out no part of the request."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    with RawClient(broker) as client:
        reply = client.refusal(tcp(*range(named)) if named else tcp("@host"), [home] * sent)
        assert (reply.code, reply.request_id) == (BAD_REQUEST, None)
        assert client.has_hung_up()
    os.close(home)


@pytest.mark.parametrize(("named", "sent"), [(1, 0), (2, 1), (16, 15)])
def test_descriptors_that_are_missing_are_a_bad_request(
    broker: BrokerProcess, clean: RawClient, named: int, sent: int
) -> None:
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    with RawClient(broker) as client:
        assert client.refusal(tcp(*range(named)), [home] * sent).code == BAD_REQUEST
        assert client.works()
    os.close(home)


def test_descriptors_with_what_is_no_request_are_dropped(broker: BrokerProcess, clean: RawClient) -> None:
    for packet in (b"", b"\xc1", b"x" * 70_000):
        with RawClient(broker) as client:
            assert client.refusal(packet, [0] * MAX_FDS).code == BAD_REQUEST
            assert client.has_hung_up()


def test_network_namespace_is_taken(
    broker: BrokerProcess, clean: RawClient, make_namespace: Callable[..., str]
) -> None:
    """Sixteen of them, each used twice. Without this, the tests above would also pass if the broker used none."""
    names = [make_namespace() for _ in range(16)]
    fds = [os.open(path_of(name), os.O_RDONLY) for name in names]
    with RawClient(broker) as client:
        reply = client.ask(tcp(*range(16), *range(16)), fds)
        assert isinstance(reply, OpenReply)
        assert netns_of(reply) == 2 * [cookie_inside(name) for name in names]
    for fd in fds:
        os.close(fd)


@pytest.mark.parametrize("request_for", ["@host", 0])
def test_client_that_sends_its_own_end_and_dies_is_forgotten(
    broker: BrokerProcess, clean: RawClient, request_for: str | int
) -> None:
    """The connection stays open, because it is in a queue of its own."""
    with RawClient(broker) as client:
        client.send(tcp(request_for), [client.sock.fileno()])


REFUSED_WITH = {
    "asked for": NO_SUCH_NAMESPACE,
    "not asked for": BAD_REQUEST,
    "beside a namespace": BAD_REQUEST,
    "turned away": OVERLOADED,
    "never read": None,
    "never read, as the replies": None,
}
"""Where a descriptor can be when the broker drops it, and the code of the refusal."""


@pytest.mark.parametrize("place", REFUSED_WITH)
def test_last_close_of_a_socket_that_lingers_holds_up_nobody(
    start_broker: Callable[..., BrokerProcess], place: str
) -> None:
    """Wherever the broker drops it: it could wait for ten hours, and the next client is served at once."""
    broker = start_broker(EVERYTHING, "[quotas]\nclients_per_user = 2\n")
    with ExitStack() as stack:
        witness, second = (stack.enter_context(RawClient(broker)) for _ in range(2))
        assert witness.works()
        assert second.works()
        assert witness.refusal(tcp(0), [0]).code == NO_SUCH_NAMESPACE  # from here on there is a porter
        if place != "turned away":
            second.sock.close()
        before = idle_descriptors(broker.pid)
        sock, other = lingering()
        stack.enter_context(other)
        _leave_to(broker, sock, place)
        assert witness.works()
        wait_until(lambda: idle_descriptors(broker.pid) == before)


def lingering() -> tuple[socket.socket, socket.socket]:
    """A socket whose last close waits for ten hours, because its other end never reads everything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        sock = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    sock.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            sock.send(b"x" * 65536)
    return sock, other


def _leave_to(broker: BrokerProcess, sock: socket.socket, place: str) -> None:
    """Send the socket, and see that the broker has the last copy of it before it looks."""
    with ExitStack() as halted, open("/proc/self/ns/net") as home:
        # It is turned away as soon as the broker sees it.
        before = halted.enter_context(ExitStack())
        if place == "turned away":
            before.enter_context(stopped(broker.pid))
        client = halted.enter_context(RawClient(broker))
        if place == "never read, as the replies":
            client.send(tcp("@host"))
            select.select([client.sock], [], [])
        with before if place == "turned away" else stopped(broker.pid):
            fds = [sock.fileno()] if place != "beside a namespace" else [home.fileno(), sock.fileno()]
            client.send(tcp("@host" if place == "not asked for" else 0), fds)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LINGER_S))
            sock.close()
            if place.startswith("never read"):
                client.sock.close()
        if not place.startswith("never read"):
            reply = client.receive()
            assert isinstance(reply, ErrorReply)
            assert reply.code == REFUSED_WITH[place]


@pytest.mark.skipif(fuse_server.why_not() is not None, reason=str(fuse_server.why_not()))
def test_file_whose_close_never_returns_holds_up_its_user_alone(broker: BrokerProcess, clean: RawClient) -> None:
    """The broker receives none of them. While the first one hangs, it takes no more from the same sender."""
    directory = broker.directory / "fuse"
    directory.mkdir()
    with FuseServer(directory, USER, GROUP) as server:
        assert as_unprivileged(_send_repeatedly, str(broker.socket_path), "/etc/passwd", 1) == [NO_SUCH_NAMESPACE]
        before = idle_descriptors(broker.pid)
        codes = as_unprivileged(_send_repeatedly, str(broker.socket_path), str(server.path), 100)
        assert codes == [NO_SUCH_NAMESPACE] + [OVERLOADED] * 99
        assert clean.works()
        assert clean.refusal(tcp(0), [0]).code == NO_SUCH_NAMESPACE
        assert idle_descriptors(broker.pid) < before + GATHERED
        server.kill()
        wait_until(
            lambda: as_unprivileged(_send_repeatedly, str(broker.socket_path), "/etc/passwd", 1) == [NO_SUCH_NAMESPACE]
        )


def _send_repeatedly(broker: str, path: str, times: int) -> list[str]:
    fd = os.open(path, os.O_RDONLY)
    codes = []
    for _ in range(times):
        with RawClient(broker) as client:
            codes.append(client.refusal(tcp(0), [fd]).code)
    os.close(fd)
    return codes
