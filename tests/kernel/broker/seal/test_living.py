"""Limits live: they outlive the broker and its control group, and never depend on its thread being where it was."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import ErrorReply, OpenRequest
from nsbrokerd.seal import Selection, live_sockets, revoke
from nsbrokerd.seal.cgroup import remove_group
from nsbrokerd.seal.maps import take_directory
from nsbrokerd.seal.own_group import own_cgroup
from support import namespaces
from support.brokers.raw_client import connect_as
from support.brokers.sealed import FREE, LIMITED, LIMITS, PORT, Place, open_as, sealed_place
from support.far_side import ALLOWED_4, FORBIDDEN_4, NEAR_4, socket_inside
from support.inside import call_inside, socket_cookie
from support.socket_listing import needs_listing
from support.waiting import wait_until

INET = int(socket.AF_INET)
TCP = (INET, int(socket.SOCK_STREAM))
UDP = (INET, int(socket.SOCK_DGRAM))
ICMP = (INET, int(socket.SOCK_DGRAM), 1)


@pytest.fixture
def place() -> Iterator[Place]:
    if reason := namespaces.why_not():
        pytest.skip(reason)
    with sealed_place() as made:
        yield made


def send(sock: socket.socket, address: str) -> int:
    """The number of the error, or 0."""
    try:
        sock.sendto(b"x", (address, PORT))
    except OSError as error:
        return error.errno or -1
    return 0


def check_limits(place: Place, sock: socket.socket) -> None:
    """Exactly the allowed packets arrive."""
    place.wire.destinations()
    assert (send(sock, ALLOWED_4), send(sock, FORBIDDEN_4)) == (0, errno.EPERM)
    found = place.wire.destinations()
    assert ALLOWED_4 in found
    assert FORBIDDEN_4 not in found


@needs_listing
def test_limits_hold_when_the_broker_is_no_more(place: Place) -> None:
    """Killed, its control group removed, started again: at every moment. Its successor replaces programs and limits."""
    with open_as(place, LIMITED, UDP) as sock, open_as(place, LIMITED, TCP) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((NEAR_4, PORT))
        listener.listen()
        place.broker.kill()
        check_limits(place, sock)
        remove_group(own_cgroup() / place.broker.seal_path.name)
        check_limits(place, sock)
        place.broker.start()
        check_limits(place, sock)
        with socket_inside(place.wire.far, *TCP) as peer:
            peer.connect((NEAR_4, PORT))
            with listener.accept()[0] as accepted:
                accepted.sendall(b"hello")
                assert peer.recv(9) == b"hello"
        place.broker.configure(LIMITS.replace("10.9.0.2:", "10.9.0.3:"))
        place.broker.reload()
        assert (send(sock, ALLOWED_4), send(sock, FORBIDDEN_4)) == (errno.EPERM, 0)
        assert {one.cookie for one in live_sockets(place.broker.seal_path)} >= {
            socket_cookie(sock), socket_cookie(listener)
        }  # fmt: skip
        assert [one.cookie for one in revoke(place.broker.seal_path, Selection(cookie=socket_cookie(sock)))]
        assert (send(sock, ALLOWED_4), send(sock, FORBIDDEN_4)) == (errno.EPERM, errno.EPERM)


def test_each_broker_has_limits_of_its_own(place: Place) -> None:
    """A second one would put its limits on the first one's sockets: it is refused while that lives."""
    with pytest.raises(OSError, match="another broker keeps its limits in"):
        take_directory(place.broker.seal_path)
    place.broker.kill()
    os.close(take_directory(place.broker.seal_path))


def test_everything_is_denied_when_the_pins_are_removed(place: Place) -> None:
    """The broker has ended too, so the limits are unknown, and every packet is denied."""
    with open_as(place, LIMITED, UDP) as sock:
        place.broker.kill()
        shutil.rmtree(place.broker.seal_path)
        remove_group(own_cgroup() / place.broker.seal_path.name)
        # The kernel empties the arrays of programs a little later.
        wait_until(lambda: send(sock, ALLOWED_4) == errno.EPERM, 30)
        assert send(sock, FORBIDDEN_4) == errno.EPERM


def test_broker_ends_when_its_thread_was_moved_to_another_group(place: Place) -> None:
    """Its sockets would have no limit, so the broker hands out no socket."""
    group = own_cgroup() / place.broker.seal_path.name / "sealed"
    (group.parent / "cgroup.threads").write_text((group / "cgroup.threads").read_text())
    with connect_as(LIMITED, place.broker) as client:
        client.send(OpenRequest(1, (SocketSpec(place.wire.near, *UDP),)))
        assert client.has_hung_up()
        assert client.fds == []
    place.broker.kill()
    assert "UnsealedError" in place.broker.log()


def try_all_in_group(group: Path) -> list[int]:
    """Enter the group as the broker's thread does, and return the errors that new sockets get there."""
    (group.parent / "cgroup.procs").write_text("0")
    (group / "cgroup.threads").write_text("0")
    with socket.socket(*UDP) as udp, socket.socket(*TCP) as tcp, socket.socket(*TCP) as server:
        with pytest.raises(PermissionError):
            server.bind((NEAR_4, PORT))
        return [send(udp, ALLOWED_4), udp.connect_ex((ALLOWED_4, PORT)), tcp.connect_ex((ALLOWED_4, PORT))]


def test_socket_of_the_group_without_the_name_of_a_grant_can_do_nothing(place: Place) -> None:
    """As a limited socket before the broker has named its grant."""
    group = own_cgroup() / place.broker.seal_path.name / "sealed"
    assert call_inside(place.wire.near, try_all_in_group, group) == [errno.EPERM] * 3


def test_without_memory_for_limits_there_is_no_socket(place: Place) -> None:
    """Neither the broker nor a listener gives one. The owner of the namespace can take the memory away."""
    listener = open_as(place, LIMITED, TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((NEAR_4, PORT))
    listener.listen()
    write = Path("/proc/sys/net/core/optmem_max").write_text
    with listener, connect_as(LIMITED, place.broker) as client, socket_inside(place.wire.far, *TCP) as peer:
        listener.setblocking(False)
        try:
            call_inside(place.wire.near, write, "0")
        except FileNotFoundError:
            pytest.skip("before Linux 6.8 there is one bound for the whole host")
        try:
            reply = client.ask(OpenRequest(1, (SocketSpec(place.wire.near, *TCP),)))
            assert isinstance(reply, ErrorReply)
            assert (reply.errno, client.fds) == (errno.ENOMEM, [])
            peer.connect((NEAR_4, PORT))
            peer.send(b"x")
            with pytest.raises(BlockingIOError):
                listener.accept()
        finally:
            call_inside(place.wire.near, write, "131072")


@needs_listing
def test_list_has_every_socket(place: Place, make_namespace: Callable[..., str]) -> None:
    """The list has unbound sockets too, of every namespace and kind, and no unlimited ones."""
    assert live_sockets(place.broker.seal_path) == []
    other = make_namespace("other")
    with (
        open_as(place, LIMITED, TCP) as unbound,
        open_as(place, LIMITED, UDP, other) as elsewhere,
        open_as(place, LIMITED, (INET, socket.SOCK_RAW, 1)) as raw,
        open_as(place, FREE, TCP),
    ):
        elsewhere.bind(("127.0.0.1", PORT))
        found = {one.cookie: one for one in live_sockets(place.broker.seal_path)}
        assert set(found) == {socket_cookie(sock) for sock in (unbound, elsewhere, raw)}
        one = found[socket_cookie(elsewhere)]
        assert (one.grant, one.uid, one.local, one.type) == ("limited", LIMITED, ("127.0.0.1", PORT), UDP[1])
        assert found[socket_cookie(raw)].grant == "limited without ports"
        assert one.netns != found[socket_cookie(unbound)].netns
        assert abs(one.since_ns - os.stat(place.broker.audit_path).st_mtime_ns) < 60 * 10**9
        [by_namespace] = live_sockets(place.broker.seal_path, Selection(netns=one.netns))
        assert by_namespace == one
    wait_until(lambda: live_sockets(place.broker.seal_path) == [])
