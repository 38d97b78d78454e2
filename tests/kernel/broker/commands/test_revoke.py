"""`nsbrokerd revoke` takes sockets back: no packet goes in or out of them any more, and connections end."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from support.brokers.limited import (
    LOOPBACK,
    can_connect,
    can_send,
    command,
    error_of,
    grant,
    listed,
    open_limited,
    plain_socket,
)
from support.brokers.process import BrokerProcess
from support.inside import netns_cookie, socket_cookie
from support.namespaces import delete
from support.socket_listing import needs_listing
from support.users import OTHER_USER, USER

GRANTS = grant("datagrams", connect=["*:*"], sockets=["udp"]) + grant("streams", connect=["*:*"], sockets=["tcp"])

pytestmark = needs_listing


@pytest.fixture
def broker(start_broker: Callable[..., BrokerProcess]) -> BrokerProcess:
    return start_broker(GRANTS)


@pytest.fixture
def name(make_namespace: Callable[..., str]) -> str:
    return make_namespace()


def revoke(broker: BrokerProcess, *arguments: str) -> str:
    """The output of the command after it revoked sockets."""
    done = command(broker, "revoke", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Scene:
    """Four datagram sockets, two users in two namespaces."""

    def __init__(self, broker: BrokerProcess, first: str, second: str) -> None:
        self.first = first
        places = [(uid, namespace) for uid in (USER, OTHER_USER) for namespace in (first, second)]
        self.sockets = {place: open_limited(broker, place[1], uid=place[0]) for place in places}

    def revoked(self) -> set[tuple[int, bool]]:
        """Which can't send any more, by user and whether it is in the first namespace."""
        return {(uid, where == self.first) for (uid, where), sock in self.sockets.items() if not can_send(sock, 5000)}

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


@pytest.fixture
def scene(broker: BrokerProcess, make_namespace: Callable[..., str]) -> Iterator[Scene]:
    scene = Scene(broker, make_namespace(), make_namespace())
    yield scene
    scene.close()


def test_sockets_are_chosen_by_user(broker: BrokerProcess, scene: Scene) -> None:
    assert "2 sockets revoked" in revoke(broker, "--user", str(USER))
    assert scene.revoked() == {(USER, True), (USER, False)}


def test_sockets_are_chosen_by_namespace(broker: BrokerProcess, scene: Scene) -> None:
    revoke(broker, "--namespace", scene.first)
    assert scene.revoked() == {(USER, True), (OTHER_USER, True)}


def test_sockets_are_chosen_by_the_number_of_a_namespace_without_a_name(broker: BrokerProcess, scene: Scene) -> None:
    delete(scene.first)
    revoke(broker, "--namespace", str(netns_cookie(scene.sockets[USER, scene.first])))
    assert scene.revoked() == {(USER, True), (OTHER_USER, True)}


def test_sockets_are_chosen_by_cookie(broker: BrokerProcess, scene: Scene) -> None:
    revoke(broker, "--cookie", str(socket_cookie(scene.sockets[USER, scene.first])))
    assert scene.revoked() == {(USER, True)}


def test_sockets_are_chosen_by_grant(broker: BrokerProcess, scene: Scene) -> None:
    with open_limited(broker, scene.first, socket.SOCK_STREAM) as tcp:
        revoke(broker, "--grant", "streams")
        assert not can_connect(tcp, 5000)
        assert scene.revoked() == set()
        revoke(broker, "--grant", "datagrams")
        assert len(scene.revoked()) == 4


def test_several_selectors_choose_what_matches_all(broker: BrokerProcess, scene: Scene) -> None:
    revoke(broker, "--user", str(USER), "--namespace", scene.first, "--grant", "datagrams")
    assert scene.revoked() == {(USER, True)}


def test_others_and_new_ones_are_not_revoked(broker: BrokerProcess, scene: Scene) -> None:
    """The grant is still there: whoever shall get no new sockets must lose it."""
    revoke(broker, "--user", str(USER))
    with open_limited(broker, scene.first, uid=USER) as fresh:
        assert can_send(fresh, 5000)
    assert [row["uid"] for row in listed(broker) if row["revoked"]] == [USER, USER]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "give at least one of --grant, --user, --namespace, --cookie"),
        (["--user", "nosuchuser"], 2, "there is no user 'nosuchuser'"),
        (["--namespace", "nosuchnamespace"], 2, "there is no namespace 'nosuchnamespace'"),
        (["--user", "4294967296"], 2, "4294967296 is not a number of 32 bits"),
        (["--namespace", str(2**64)], 2, "is not a number of 64 bits"),
        (["--cookie", "-1"], 2, "-1 is not a number of 64 bits"),
        (["--cookie", "x"], 2, "x is not a number of 64 bits"),
        (["--grant", "nosuchgrant"], 1, "0 sockets revoked"),
        (["--cookie", "1"], 1, "0 sockets revoked"),
        (["--user", "123456"], 1, "0 sockets revoked"),
    ],
)
def test_what_matches_nothing_is_said(broker: BrokerProcess, arguments: list[str], status: int, said: str) -> None:
    done = command(broker, "revoke", *arguments)
    assert done.returncode == status
    assert said in (done.stdout if status == 1 else done.stderr)


def test_datagrams_stop_in_both_directions_for_good(broker: BrokerProcess, name: str) -> None:
    """Also over a reload, and a restart of the broker."""
    with plain_socket(name, socket.SOCK_DGRAM, 5000) as peer, open_limited(broker, name) as udp:
        udp.bind((LOOPBACK, 5001))
        udp.connect((LOOPBACK, 5000))
        udp.send(b"before")
        assert peer.recv(10) == b"before"
        revoke(broker, "--cookie", str(socket_cookie(udp)))
        for _ in range(2):
            assert error_of(udp.send, b"after") == "EPERM"
            assert not can_send(udp, 5000)
            peer.sendto(b"after", (LOOPBACK, 5001))
            assert error_of(udp.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"
            assert error_of(peer.recv, 10, socket.MSG_DONTWAIT) in ("EAGAIN", "ECONNREFUSED")
            broker.reload()
            broker.kill()
            broker.start()


def test_connections_and_listeners_end_at_once(broker: BrokerProcess, name: str) -> None:
    """Also those that a revoked listener has accepted. The peers get a reset."""
    with (
        open_limited(broker, name, socket.SOCK_STREAM, bind=(LOOPBACK, 5001), listen=1) as listener,
        open_limited(broker, name, socket.SOCK_STREAM) as outgoing,
        open_limited(broker, name, socket.SOCK_STREAM, uid=OTHER_USER) as incoming,
        plain_socket(name, socket.SOCK_STREAM, 5000) as plain,
    ):
        incoming.connect((LOOPBACK, 5001))
        outgoing.connect((LOOPBACK, 5000))
        with listener.accept()[0] as accepted, plain.accept()[0] as peer:
            assert "3 sockets revoked, 3 TCP sockets ended" in revoke(broker, "--user", str(USER))
            assert [error_of(sock.recv, 1) for sock in (accepted, outgoing)] == ["ECONNABORTED"] * 2
            assert [error_of(sock.recv, 1) for sock in (incoming, peer)] == ["ECONNRESET"] * 2
            assert not can_connect(listener, 5000)


def test_connection_is_ended_alone_or_goes_with_its_listener(broker: BrokerProcess, name: str) -> None:
    with open_limited(broker, name, socket.SOCK_STREAM, bind=(LOOPBACK, 5001), listen=2) as listener:
        clients = [open_limited(broker, name, socket.SOCK_STREAM, uid=OTHER_USER) for _ in range(2)]
        for client in clients:
            client.connect((LOOPBACK, 5001))
        with listener.accept()[0] as first, listener.accept()[0] as second, clients[0], clients[1]:
            assert "1 socket revoked" in revoke(broker, "--cookie", str(socket_cookie(first)))
            assert [error_of(one.recv, 1, socket.MSG_DONTWAIT) for one in (first, second)] == ["ECONNABORTED", "EAGAIN"]
            assert "2 sockets revoked" in revoke(broker, "--cookie", str(socket_cookie(listener)))
            assert [error_of(one.recv, 1) for one in clients] == ["ECONNRESET"] * 2


def test_connection_in_a_namespace_that_can_not_be_reached_is_cut(
    broker: BrokerProcess, make_namespace: Callable[..., str]
) -> None:
    """The namespace has no name and no process, so the kernel can't end the connection. Still, no packet passes."""
    name = make_namespace("gone")
    with (
        plain_socket(name, socket.SOCK_STREAM, 5000) as plain,
        open_limited(broker, name, socket.SOCK_STREAM) as outgoing,
    ):
        outgoing.connect((LOOPBACK, 5000))
        with plain.accept()[0] as peer:
            outgoing.send(b"before")
            assert peer.recv(10) == b"before"
            delete(name)
            said = revoke(broker, "--user", str(USER))
            assert "1 TCP sockets are in namespaces that can't be reached" in said
            outgoing.send(b"after")
            peer.send(b"after")
            # Loopback delivers before send(2) is done.
            assert error_of(peer.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"
            assert error_of(outgoing.recv, 10, socket.MSG_DONTWAIT) == "EAGAIN"


def test_what_a_killed_broker_gave_is_revoked_with_and_without_a_successor(broker: BrokerProcess, name: str) -> None:
    with open_limited(broker, name) as first, open_limited(broker, name, uid=OTHER_USER) as second:
        broker.kill()
        revoke(broker, "--user", str(USER))
        assert [can_send(first, 5000), can_send(second, 5000)] == [False, True]
        broker.start()
        assert [can_send(first, 5000), can_send(second, 5000)] == [False, True]
        revoke(broker, "--user", str(OTHER_USER))
        assert [can_send(first, 5000), can_send(second, 5000)] == [False, False]
