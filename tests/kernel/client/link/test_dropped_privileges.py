"""A program that gives up root does not keep using root's connection to the broker."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable

import pytest

from nsbroker import AccessDeniedError, Client, SocketSpec
from support.brokers.process import BrokerProcess
from support.users import GROUP, USER, as_user

GRANT_ROOT = '[[grant]]\nname = "root"\nusers = [0]\nnamespaces = ["@host"]\nsockets = ["tcp"]\n'
TCP = SocketSpec("@host", socket.AF_INET, socket.SOCK_STREAM)


def _drop_between_two_calls(path: str) -> None:
    client = Client(path)
    client.open([TCP])[0].close()
    os.setgroups([])
    os.setresgid(GROUP, GROUP, GROUP)
    os.setresuid(USER, USER, USER)
    with pytest.raises(AccessDeniedError, match=f"uid {USER}"):
        client.open([TCP])


def test_dropped_privileges_are_dropped_at_the_broker_too(start_broker: Callable[..., BrokerProcess]) -> None:
    """An idle connection of root's is not used by the same process as another user."""
    as_user(0, 0, _drop_between_two_calls, str(start_broker(GRANT_ROOT).socket_path))
