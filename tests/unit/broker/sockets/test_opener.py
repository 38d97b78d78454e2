"""The checks before a socket is made."""

from __future__ import annotations

import errno
import os
import socket

import pytest

from nsbroker.wire import SocketSpec
from nsbrokerd.clients.client import Person
from nsbrokerd.clients.closer import MAX_FILES_OF_PERSON, Closer
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.policy import Grant, Limit, NamespaceRule
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.seal import UnsealedError
from nsbrokerd.sockets.batch import OpenError, OpenGroup
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener
from support.brokers.fake_porters import FakePorters

ROOT = Person(0, 0, 1)


def planned(limit: Limit | None) -> PlannedSocket:
    grant = Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp"}), limit=limit)
    spec = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM)
    return PlannedSocket(0, "@host", spec, triple_of(spec), "tcp", grant, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")
def test_limited_socket_is_never_made_where_nothing_enforces_limits() -> None:
    """This holds even if a policy with limits got so far. An unlimited socket is made."""
    gate = Gate()
    opener = Opener(gate, Credentials(), {})
    (free,) = opener.open_sockets([OpenGroup(gate.home_fd, [planned(None)])], 0, 0, ROOT)
    free.sock.close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsealedError):
        opener.open_sockets([OpenGroup(gate.home_fd, [planned(Limit(connect=()))])], 0, 0, ROOT)
    assert os.listdir("/proc/self/fd") == before
    os.close(gate.home_fd)


def packet_and_failing() -> list[PlannedSocket]:
    """A packet socket, and a socket that can't be bound."""
    grant = Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp", "packet"}))
    packet = SocketSpec("@host", socket.AF_PACKET, socket.SOCK_RAW)
    failing = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM, 0, ("192.0.2.1", 1))
    return [
        PlannedSocket(0, "@host", packet, triple_of(packet), "packet", grant, False, True),
        PlannedSocket(1, "@host", failing, triple_of(failing), "tcp", grant, False),
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")
def test_packet_socket_of_a_request_that_fails_is_closed_by_a_porter() -> None:
    """Its close waits 10 ms for other processors. All clients would wait with the main thread."""
    gate, porters = Gate(), FakePorters()
    opener = Opener(gate, Credentials(), {}, closer=Closer(porters))  # type: ignore[arg-type]  # a fake
    with pytest.raises(OpenError) as failure:
        opener.open_sockets([OpenGroup(gate.home_fd, packet_and_failing())], 0, 0, ROOT)
    assert (failure.value.position, failure.value.error.errno) == (1, errno.EADDRNOTAVAIL)
    assert porters.files_of(ROOT) == 1
    porters.close_all()
    os.close(gate.home_fd)


@pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")
def test_packet_sockets_are_refused_while_too_many_are_being_closed() -> None:
    """Otherwise they would pile up."""
    gate, porters = Gate(), FakePorters()
    opener = Opener(gate, Credentials(), {}, closer=Closer(porters))  # type: ignore[arg-type]  # a fake
    positions = []
    for _ in range(MAX_FILES_OF_PERSON + 1):
        with pytest.raises(OpenError) as failure:
            opener.open_sockets([OpenGroup(gate.home_fd, packet_and_failing())], 0, 0, ROOT)
        positions.append(failure.value.position)
    porters.close_all()
    assert positions == [1] * MAX_FILES_OF_PERSON + [0]
    assert failure.value.error.errno == errno.EBUSY
    os.close(gate.home_fd)
