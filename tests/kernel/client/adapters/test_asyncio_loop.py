"""Event loops whose namespace is the program's own take all its sockets and look-ups."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

import nsbroker
from nsbroker.adapters.asyncio import loop_factory
from support.brokers.process import BrokerProcess
from support.users import as_unprivileged


async def look_up() -> str:
    assert socket.getaddrinfo("localhost", 80)
    return str(await asyncio.to_thread(socket.gethostbyname, "localhost"))


async def watch_own_sockets() -> str:
    loop = asyncio.get_running_loop()
    with socket.socket(type=socket.SOCK_DGRAM) as sock, socket.create_server(("127.0.0.1", 0)) as listener:
        loop.add_reader(sock, print)
        loop.remove_reader(sock)
        loop.add_reader(sock.fileno(), print)
        loop.remove_reader(sock)
        listener.setblocking(False)
        with socket.socket() as near:
            near.setblocking(False)
            await loop.sock_connect(near, listener.getsockname())
            far, _ = await loop.sock_accept(listener)
            far.close()
    return "watched"


def run_in(socket_path: str, namespace: str, use: Callable[[], Coroutine[Any, Any, str]]) -> str:
    os.environ["NSBROKER_SOCKET"] = socket_path
    with asyncio.Runner(loop_factory=loop_factory(nsbroker.Namespace(namespace, timeout=0.5))) as runner:
        return runner.run(use())


@pytest.mark.parametrize("namespace", ["@host", "/proc/self/ns/net"])
def test_loop_of_the_programs_own_namespace_takes_its_sockets(broker: BrokerProcess, namespace: str) -> None:
    assert as_unprivileged(run_in, str(broker.socket_path), namespace, watch_own_sockets) == "watched"
    assert as_unprivileged(run_in, str(broker.socket_path), namespace, look_up) == "127.0.0.1"


def test_refusal_needs_no_broker() -> None:
    """If the loop can't ask which namespace it has, it refuses, and says why."""
    with pytest.raises(nsbroker.WrongNamespaceError, match="has a socket of the program") as caught:
        run_in("/nonexistent/nsbroker.sock", "@host", watch_own_sockets)
    assert isinstance(caught.value.__cause__, nsbroker.BrokerUnavailableError)
