"""A reload of the policy changes the limits of sockets that were handed over before."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from nsbroker import SocketSpec
from nsbroker.wire import OpenReply, OpenRequest
from nsbrokerd.seal import SealError, bpf, live_sockets, running
from nsbrokerd.seal.own_group import own_cgroup
from support import namespaces
from support.brokers.limited import can_connect, can_send, disconnect, error_of, grant, open_limited, plain_socket
from support.brokers.process import BrokerProcess
from support.brokers.raw_client import connect_as
from support.brokers.walls import Walls
from support.far_side import socket_inside
from support.inside import socket_cookie
from support.process_state import idle_descriptors
from support.socket_listing import needs_listing
from support.users import GROUP, USER, as_unprivileged, start_as_user
from support.waiting import Counters, wait_until

START = Callable[..., BrokerProcess]


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


def use(broker: BrokerProcess, *grants: str) -> None:
    broker.configure("".join(grants))
    broker.reload()


def test_reload_changes_where_a_socket_can_go_and_what_it_can_bind(start_broker: START, name: str) -> None:
    broker = start_broker(grant(connect=["127.0.0.0/8:5000"], bind=["*:6000"]))
    with open_limited(broker, name) as udp, open_limited(broker, name, socket.SOCK_STREAM) as tcp:
        assert [can_send(udp, 5000), can_send(udp, 5001), can_connect(tcp, 5001)] == [True, False, False]
        use(broker, grant(connect=["127.0.0.0/8:5001"], bind=["*:6001"]))
        assert [can_send(udp, 5000), can_send(udp, 5001), can_connect(tcp, 5001)] == [False, True, True]
        assert [error_of(tcp.bind, ("127.0.0.1", port)) for port in (6000, 6001)] == ["EPERM", None]


def test_socket_of_a_grant_that_is_no_more_can_do_nothing(start_broker: START, name: str) -> None:
    """Until the grant is there again."""
    limited = grant(connect=["*:*"], bind=["*:*"])
    broker = start_broker(limited)
    with open_limited(broker, name) as udp, open_limited(broker, name, socket.SOCK_STREAM) as tcp:
        use(broker, grant("another", connect=["*:*"]))
        assert not can_send(udp, 5000)
        assert not can_connect(tcp, 5000)
        assert error_of(tcp.bind, ("127.0.0.1", 5000)) == "EPERM"
        use(broker, limited)
        assert can_send(udp, 5000)
        assert can_connect(tcp, 5000)


def test_socket_of_a_grant_that_lost_its_limit_can_go_anywhere(start_broker: START, name: str) -> None:
    broker = start_broker(grant(connect=[], bind=[]))
    with open_limited(broker, name) as udp:
        assert not can_send(udp, 5000)
        use(broker, grant())
        assert can_send(udp, 5000)
        with open_limited(broker, name) as another:
            assert can_send(another, 5000)
        use(broker, grant(connect=["*:5001"]))
        assert [can_send(udp, 5000), can_send(udp, 5001)] == [False, True]


def test_reload_that_fails_leaves_the_limits_as_they_are(start_broker: START, name: str) -> None:
    broker = start_broker(grant(connect=["*:5000"]))
    with open_limited(broker, name) as udp:
        use(broker, grant(connect=["*:5001"]), grant("wrong", connect=["nonsense"]))
        assert [can_send(udp, 5000), can_send(udp, 5001)] == [True, False]


def test_reload_whose_limits_cant_be_loaded_keeps_everything_as_it_was(start_broker: START, name: str) -> None:
    """The audit too, which was moved by the same change: there is one only that fits the policy."""
    broker = start_broker(grant("free"))
    audit_path, seal_path = broker.audit_path, broker.seal_path
    broker.reload()
    before = idle_descriptors(broker.pid)
    broker.audit_path = broker.directory / "moved.json"
    broker.seal_path = broker.directory / "no BPF file system"
    use(broker, grant("limited", connect=[]))
    broker.audit_path, broker.seal_path = audit_path, seal_path
    assert "name a directory below /sys/fs/bpf" in broker.log()
    assert idle_descriptors(broker.pid) == before
    with open_limited(broker, name) as udp:
        assert can_send(udp, 5000)
    assert [record["grant"] for record in broker.audit()] == ["free"]


@pytest.fixture
def unswept() -> Iterator[UnsweptBroker]:
    """A broker that can't look at sockets in use while there is a file `unswept` in its directory."""
    if reason := namespaces.why_not():
        pytest.skip(reason)
    broker = UnsweptBroker(LIMITED)
    broker.start()
    yield broker
    broker.close()


LIMITED = grant(connect=["*:5000"])


class UnsweptBroker(BrokerProcess):
    def command(self) -> list[str]:
        code = (
            "import os, sys; from nsbrokerd.commands import main; from nsbrokerd.seal import running, live\n"
            "def sweep(maps, sweep=running.sweep):\n"
            "    if os.path.exists('unswept'): raise OSError(12, 'no memory')\n"
            "    if live.why_not_listed() is None: sweep(maps)\n"
            "    if os.path.exists('swept halfway'): os.unlink('swept halfway'); raise OSError(12, 'no memory')\n"
            "running.sweep, running.why_not_listed = sweep, lambda: None\n"
            "sys.exit(main.main())"
        )
        return [sys.executable, "-P", "-c", code, "serve", "--config", str(self.config_path)]

    @contextmanager
    def failing(self) -> Iterator[None]:
        (self.directory / "unswept").touch()
        yield
        (self.directory / "unswept").unlink()


@pytest.mark.parametrize(
    "to",
    [grant(connect=["*:5001"]), grant(), grant("other", connect=["*:*"]), ""],
    ids=["another limit", "no limit", "another grant", "no grant"],
)
def test_reload_that_can_not_look_at_sockets_in_use_fails_as_a_whole(
    unswept: UnsweptBroker, name: str, to: str
) -> None:
    """Also if it would remove the last limit. The former limits hold for sockets in use, and for new ones."""
    with open_limited(unswept, name) as udp:
        with unswept.failing():
            unswept.configure(to)
            status = unswept.reload()
        assert "failed, so the former policy is in force: " in status
        assert "no memory; what was in force before is in force again, but" in status
        with open_limited(unswept, name) as another:
            for sock in (udp, another):
                assert [can_send(sock, 5000), can_send(sock, 5001)] == [True, False]
        assert "failed" not in unswept.reload()


def test_sockets_that_a_failed_reload_has_cut_off_go_on(unswept: UnsweptBroker, name: str) -> None:
    with plain_socket(name, socket.SOCK_DGRAM, 5000) as peer, open_limited(unswept, name) as udp:
        udp.connect(("127.0.0.1", 5000))
        (unswept.directory / "swept halfway").touch()
        unswept.configure(grant(connect=["*:5001"]))
        assert unswept.reload().endswith("no memory; what was in force before is in force again: reload again later")
        udp.send(b"datagram")
        assert peer.recv(10) == b"datagram"


def test_first_limits_that_can_not_be_applied_leave_sealed_sockets_cut_off(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There are no former ones."""

    def fail(*_: object) -> None:
        raise OSError("no memory")

    walls = Walls(name)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(running, "sweep", fail)
            patch.setattr(running, "why_not_listed", lambda: None)
            with pytest.raises(SealError, match="what was in force before is in force again"):
                walls.limit("udp", connect=["*:5000"])
        with walls.make(socket.AF_INET, socket.SOCK_DGRAM) as udp:
            assert not can_send(udp, 5000)
            walls.limit("udp", connect=["*:5000"])
            assert can_send(udp, 5000)
    finally:
        walls.close()


def test_broker_without_limits_starts_although_those_of_an_earlier_one_stay(unswept: UnsweptBroker, name: str) -> None:
    """The status says so. Later, such a reload fails, because the broker can change limits now."""
    with open_limited(unswept, name) as udp, unswept.failing():
        unswept.stop()
        unswept.configure(grant())
        unswept.start()
        fault = "the limits: sockets of an earlier broker keep theirs: can't apply the limits to sockets in use"
        assert fault in unswept.status()
        assert [can_send(udp, 5000), can_send(udp, 5001)] == [True, False]
        assert "the last reload: failed" in unswept.reload()
        (unswept.directory / "unswept").rename(unswept.directory / "swept")
        assert "serving (grants: 1" in (status := unswept.reload())
        assert ("the limits" in status, "failed" in status, can_send(udp, 5001)) == (False, False, True)
        (unswept.directory / "swept").rename(unswept.directory / "unswept")


def test_programs_of_another_version_go_once_revoke_has_ended(start_broker: START) -> None:
    """`nsbrokerd revoke` has the lock when the limits are loaded. Any pin of this name passes for a program."""
    broker = start_broker(grant(connect=[]))
    pin, lock = broker.seal_path / "hook_of_another_version", broker.seal_path / "lock"
    with ExitStack() as stack:
        with bpf.closing(bpf.create_map("nsb_test", bpf.MapShape(bpf.ARRAY, 4, 4), 1)) as fd:
            bpf.pin(fd, str(pin))
        lock.mkdir(exist_ok=True)
        lock_fd = os.open(lock, os.O_RDONLY)
        stack.callback(os.close, lock_fd)
        fcntl.flock(lock_fd, fcntl.LOCK_SH)
        broker.reload()
        assert pin.exists()
    wait_until(lambda: not pin.exists(), 20)


def test_limits_change_all_at_once(start_broker: START, name: str, long: bool) -> None:
    """In between, a call that both limits allow is never denied, and a call that both deny is never allowed."""
    one, other = (grant(connect=["*:5000", f"*:{port}"]) for port in (5001, 5002))
    broker = start_broker(one)
    with open_limited(broker, name) as udp:
        counts = Counters(3)
        child = start_as_user(USER, GROUP, _send_for_ever, udp, counts)
        try:
            wait_until(lambda: counts[0] > 0)
            for _ in range(50 if long else 10):
                for text in (other, one):
                    use(broker, text)
            seen = counts[0]
            wait_until(lambda: counts[0] > seen)
        finally:
            child.kill()
    assert counts[0] > 100
    assert (counts[1], counts[2]) == (0, 0)


def _send_for_ever(udp: socket.socket, counts: Counters) -> None:
    while True:
        counts[1] += not can_send(udp, 5000)
        counts[2] += can_send(udp, 5003)
        counts[0] += 1


def test_whoever_holds_the_socket_is_held_to_the_new_limits(start_broker: START, name: str) -> None:
    """A connected unprivileged client goes on, and can't connect elsewhere."""
    broker = start_broker(grant(connect=["127.0.0.1:5000", "127.0.0.1:5001"]))
    with (
        plain_socket(name, socket.SOCK_STREAM, 5001) as listener,
        open_limited(broker, name, socket.SOCK_STREAM) as tcp,
    ):
        tcp.connect(("127.0.0.1", 5001))
        use(broker, grant(connect=["127.0.0.1:5001"]))
        with listener.accept()[0] as accepted:
            assert as_unprivileged(_talk_and_move, tcp) == "EPERM"
            assert accepted.recv(10) == b"still here"


def _talk_and_move(tcp: socket.socket) -> str | None:
    tcp.sendall(b"still here")
    disconnect(tcp)
    return error_of(tcp.connect, ("127.0.0.1", 5000))


@needs_listing
def test_what_is_connected_is_cut_off_until_its_peer_is_covered_again(start_broker: START, name: str) -> None:
    """By a narrower limit, and when the grant is gone. A connection that a listener accepted has any peer."""
    limited = grant(connect=["127.0.0.1:5000"])
    broker = start_broker(limited)
    with (
        plain_socket(name, socket.SOCK_STREAM, 5000) as listener,
        plain_socket(name, socket.SOCK_DGRAM, 5000) as peer,
        open_limited(broker, name, socket.SOCK_STREAM) as tcp,
        open_limited(broker, name) as udp,
    ):
        tcp.connect(("127.0.0.1", 5000))
        udp.connect(("127.0.0.1", 5000))
        with listener.accept()[0] as accepted:
            for policy in (grant(connect=["127.0.0.1:5001"]), grant("another", connect=["*:*"])):
                use(broker, policy)
                tcp.send(b"stream")
                assert error_of(udp.send, b"datagram") == "EPERM"
                assert error_of(accepted.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"
                assert error_of(peer.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"
                use(broker, limited)
                udp.send(b"datagram")
                assert (accepted.recv(10), peer.recv(10)) == (b"stream", b"datagram")
        use(broker, grant("another", connect=["*:*"]))
        # The second wall denies this, too.
        assert error_of(disconnect, tcp) in (None, "EPERM")
        assert not can_connect(tcp, 5000)


def test_socket_whose_connection_was_refused_goes_where_the_new_limit_says(start_broker: START, name: str) -> None:
    """The kernel still knows its last peer, which the new limit does not cover."""
    broker = start_broker(grant(connect=["127.0.0.1:5000"]))
    with open_limited(broker, name, socket.SOCK_STREAM) as tcp:
        assert can_connect(tcp, 5000)
        use(broker, grant(connect=["127.0.0.1:5001"]))
        assert [can_connect(tcp, port) for port in (5000, 5001)] == [False, True]


@needs_listing
def test_connection_that_a_listener_accepted_stays_when_connecting_is_narrowed(start_broker: START, name: str) -> None:
    """Its peer chose it. When the grant is gone, it is cut off, too."""
    broker = start_broker(grant(connect=["*:*"]))
    with (
        open_limited(broker, name, socket.SOCK_STREAM) as listener,
        socket_inside(name, int(socket.AF_INET), int(socket.SOCK_STREAM)) as peer,
    ):
        listener.bind(("127.0.0.1", 5000))
        listener.listen()
        peer.connect(("127.0.0.1", 5000))
        with listener.accept()[0] as accepted:
            use(broker, grant(connect=[]))
            accepted.send(b"stays")
            peer.settimeout(30)
            assert peer.recv(10) == b"stays"
            use(broker, grant("another", connect=["*:*"]))
            accepted.send(b"lost")
            peer.settimeout(None)
            assert error_of(peer.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"


def test_grant_without_limits_seals_nothing(start_broker: START, name: str) -> None:
    """Its sockets stay unlimited if the grant gets limits later. New sockets are sealed then."""
    broker = start_broker(grant())
    with open_limited(broker, name, uid=USER) as free:
        use(broker, grant(connect=[]))
        assert can_send(free, 5000)
        with open_limited(broker, name) as sealed:
            assert not can_send(sealed, 5000)


@needs_listing
def test_socket_without_a_limit_is_not_sealed_beside_one_with_a_limit(start_broker: START, name: str) -> None:
    """One request asked for both."""
    broker = start_broker(grant(connect=[], sockets=["udp"]) + grant("free", sockets=["tcp"]))
    specs = [SocketSpec(name, socket.AF_INET, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]
    with connect_as(USER, broker) as client:
        reply = client.ask(OpenRequest(1, tuple(specs)))
        assert isinstance(reply, OpenReply), reply
        free, sealed = (socket.socket(fileno=fd) for fd in client.fds)
        client.fds.clear()
    with free, sealed:
        assert (socket_cookie(free), socket_cookie(sealed)) == tuple(one.cookie for one in reply.sockets)
        assert [one.cookie for one in live_sockets(broker.seal_path)] == [socket_cookie(sealed)]


def test_without_limits_there_is_nothing_of_the_seal(start_broker: START) -> None:
    """Without limits there is no thread, no pin and no control group. The first limit starts one thread."""
    broker = start_broker(grant())
    group = own_cgroup() / broker.seal_path.name
    threads = len(os.listdir(f"/proc/{broker.pid}/task"))
    assert (broker.seal_path.exists(), group.exists()) == (False, False)
    use(broker, grant(connect=[]))
    assert (broker.seal_path.exists(), group.exists()) == (True, True)
    assert len(os.listdir(f"/proc/{broker.pid}/task")) == threads + 1
