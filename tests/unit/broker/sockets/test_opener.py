"""The checks before a socket is made."""

from __future__ import annotations

import os
import socket

import pytest

from nsbroker.wire import SocketSpec
from nsbrokerd.namespaces.netns import Gate
from nsbrokerd.policy import Grant, Limit, NamespaceRule
from nsbrokerd.policy.kinds import triple_of
from nsbrokerd.policy.plans import PlannedSocket
from nsbrokerd.seal import UnsealedError
from nsbrokerd.sockets.credentials import Credentials
from nsbrokerd.sockets.opener import Opener, OpenGroup


def planned(limit: Limit | None) -> PlannedSocket:
    grant = Grant("some", None, frozenset(), NamespaceRule.parse(["@host"]), frozenset({"tcp"}), limit=limit)
    spec = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM)
    return PlannedSocket(0, "@host", spec, triple_of(spec), "tcp", grant, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="sockets are made as their owner: that needs root")
def test_limited_socket_is_never_made_where_nothing_enforces_limits() -> None:
    """This holds even if a policy with limits got so far. An unlimited socket is made."""
    gate = Gate()
    opener = Opener(gate, Credentials(), {})
    (free,) = opener.open_sockets([OpenGroup(gate.home_fd, [planned(None)])], 0, 0)
    free.sock.close()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(UnsealedError):
        opener.open_sockets([OpenGroup(gate.home_fd, [planned(Limit(connect=()))])], 0, 0)
    assert os.listdir("/proc/self/fd") == before
    os.close(gate.home_fd)
