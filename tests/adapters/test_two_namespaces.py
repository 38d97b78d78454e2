"""Tasks of one process in two namespaces, in which one name means two hosts, and a silent address."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Iterator

import anyio
import pytest

import nsbroker.adapters.anyio
import nsbroker.adapters.asyncio
import nsbroker.adapters.trio
from support.adapters.echo import descriptors
from support.adapters.loops import ANYIO, ANYIO_TRIO, ASYNCIO, LOOPS, TRIO, UVLOOP, Loop, on, start_each
from support.brokers.process import BrokerProcess
from support.inside import netns_cookie
from support.names import dnsmasq
from support.names.etc_netns import make_files, remove_files
from support.users import as_unprivileged

NAME = "same.example.org"
TWO_ADDRESSES = "two.example.org"
PORT = 80

Connect = Callable[[nsbroker.Namespace, str], Awaitable[socket.socket]]


async def connect_anyio(place: nsbroker.Namespace, host: str) -> socket.socket:
    stream = await nsbroker.adapters.anyio.connect_tcp(place, host, PORT)
    try:
        return stream.extra(anyio.abc.SocketAttribute.raw_socket).dup()
    finally:
        await stream.aclose()


async def connect_asyncio(place: nsbroker.Namespace, host: str) -> socket.socket:
    return await nsbroker.adapters.asyncio.connect(place, host, PORT)


async def connect_trio(place: nsbroker.Namespace, host: str) -> socket.socket:
    return await nsbroker.adapters.trio.connect(place, host, PORT)


HOW = {
    ASYNCIO.name: connect_asyncio,
    UVLOOP.name: connect_asyncio,
    TRIO.name: connect_trio,
    ANYIO.name: connect_anyio,
    ANYIO_TRIO.name: connect_anyio,
}


@pytest.fixture(scope="module", autouse=True)
def _loops_have_what_they_keep() -> None:
    start_each()


@pytest.fixture
def write_hosts() -> Iterator[Callable[[str, str], None]]:
    """Yield a function that writes a hosts file for a namespace."""
    made = []

    def write(namespace: str, text: str) -> None:
        files = make_files(namespace)
        made.append(namespace)
        (files / "hosts").write_text(text)

    yield write
    for namespace in made:
        remove_files(namespace)


def use_by_turns(loop: Loop, path: str, names: list[str], addresses: list[str]) -> None:
    places = [nsbroker.Namespace(name, path=path) for name in names]
    cookies = [netns_cookie(place.socket()) for place in places]
    assert len(set(cookies)) == len(names)
    listeners = [place.create_server((address, PORT)) for place, address in zip(places, addresses, strict=True)]

    async def use(number: int) -> None:
        for turn in range(20):
            which = (number + turn) % len(places)
            sock = await HOW[loop.name](places[which], NAME)
            assert (netns_cookie(sock), sock.getpeername()) == (cookies[which], (addresses[which], PORT))
            sock.close()

    async def use_all() -> None:
        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(use, number)

    loop.run(use_all)
    for listener in listeners:
        listener.close()


@on(*LOOPS)
def test_namespaces_are_never_mixed_up(
    loop: Loop, make_namespace: Callable[..., str], broker: BrokerProcess, write_hosts: Callable[[str, str], None]
) -> None:
    """Four tasks change the namespace back and forth, and check the socket's namespace and the meaning of the name."""
    names = [make_namespace(), make_namespace()]
    addresses = ["127.0.1.1", "127.0.1.2"]
    for name, address in zip(names, addresses, strict=True):
        write_hosts(name, f"{address} {NAME}\n")
    as_unprivileged(use_by_turns, loop, str(broker.socket_path), names, addresses)


def connect_to_slow_one(loop: Loop, path: str, name: str) -> float:
    client = nsbroker.Client(path)
    place = nsbroker.Namespace(name, client=client)
    before = descriptors()
    with place.create_server((dnsmasq.ADDRESS, PORT)):

        async def connect() -> None:
            (await HOW[loop.name](place, TWO_ADDRESSES)).close()

        begin = time.monotonic()
        loop.run(connect)
    client.close()
    assert descriptors() == before
    return time.monotonic() - begin


@on(*LOOPS)
def test_silent_address_does_not_hold_up_the_next_one(
    loop: Loop, make_namespace: Callable[..., str], broker: BrokerProcess, write_hosts: Callable[[str, str], None]
) -> None:
    """With happy eyeballs, the second address is tried beside the first, whose socket is closed."""
    name = make_namespace()
    dnsmasq.add_network(name)
    write_hosts(name, f"{dnsmasq.SILENT} {TWO_ADDRESSES}\n{dnsmasq.ADDRESS} {TWO_ADDRESSES}\n")
    assert as_unprivileged(connect_to_slow_one, loop, str(broker.socket_path), name) < 5
