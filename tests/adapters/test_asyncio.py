"""asyncio and uvloop in a namespace: streams, servers, datagrams, and whole event loops."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import nsbroker
from nsbroker.adapters import asyncio as inside
from support.adapters.echo import REQUEST, body, descriptors
from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    HOST,
    SERVER,
    SILENT_PORT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)
from support.adapters.loops import ASYNCIO, UVLOOP, Loop, on, start_each, while_ticking

BOTH = on(ASYNCIO, UVLOOP)
LOOP_CLASSES = pytest.mark.parametrize("loop_class", ["SelectorEventLoop", "uvloop.Loop"])

pytestmark = pytest.mark.usefixtures("web")


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    writer.write(REQUEST)
    answer = body(await reader.read())
    writer.close()
    await writer.wait_closed()
    return answer


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.readline())
    writer.close()


async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"hello\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def run(namespace: str, loop: Loop, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a function in a loop, and check that no descriptor stays open."""
    start_each()
    place = nsbroker.Namespace(namespace)
    before = descriptors()
    result = loop.run(function, place, *args)
    place._place._broker.close()
    assert descriptors() == before
    return result


async def get(place: nsbroker.Namespace, host: str, port: int, **options: Any) -> str:
    return await ask(*await inside.open_connection(place, host, port, **options))


async def get_by_tls(place: nsbroker.Namespace, host: str) -> str:
    return await get(place, host, 443, ssl=True)


async def get_from(place: nsbroker.Namespace, host: str) -> str:
    return await get(place, host, 80, local_addr=(CLIENT, 0))


@BOTH
@pytest.mark.parametrize("host", [HOST, SERVER])
def test_connection_comes_from_the_namespace(site: ExampleOrg, loop: Loop, host: str) -> None:
    assert site.run(run, loop, get, host, 80) == CLIENT
    assert site.run(run, loop, get_from, host) == CLIENT


@BOTH
def test_tls_verifies_the_name(site: ExampleOrg, loop: Loop) -> None:
    """Without a word about `server_hostname`."""
    assert site.run(run, loop, get_by_tls, HOST) == CLIENT


async def fail(place: nsbroker.Namespace, error: type[BaseException], host: str, port: int, **options: Any) -> str:
    with pytest.raises(error) as caught:
        await inside.open_connection(place, host, port, **options)
    return str(caught.value)


async def fail_certificate(place: nsbroker.Namespace) -> str:
    return await fail(place, ssl.SSLCertVerificationError, UNTRUSTED, 443, ssl=True)


async def fail_in_time(place: nsbroker.Namespace, host: str, port: int, tls: bool) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await inside.open_connection(place, host, port, ssl=tls or None)


@BOTH
def test_errors_are_those_of_asyncio(site: ExampleOrg, loop: Loop) -> None:
    """Unknown names, refused connections and wrong certificates leave no descriptor open."""
    assert "not known" in site.run(run, loop, fail, socket.gaierror, UNKNOWN, 80)
    assert "refused" in site.run(run, loop, fail, ConnectionRefusedError, HOST, CLOSED_PORT)
    assert "match" in site.run(run, loop, fail_certificate)
    assert "namespace" in site.run(run_elsewhere, loop)


async def fail_without_tls(place: nsbroker.Namespace) -> None:
    for option in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
        for use in (inside.open_connection(place, UNKNOWN, 80, **{option: 1}),
                    inside.start_server(place, echo, UNKNOWN, 80, **{option: 1})):  # fmt: skip
            with pytest.raises(ValueError, match=f"{option} is only meaningful with ssl"):
                await use


@BOTH
def test_timeouts_of_tls_need_tls(site: ExampleOrg, loop: Loop) -> None:
    """This is known before the name is looked up."""
    site.run(run, loop, fail_without_tls)


def run_elsewhere(_: str, loop: Loop) -> str:
    return str(run("no-such-namespace", loop, fail, nsbroker.Error, SERVER, 80))


@BOTH
@pytest.mark.parametrize(
    ("host", "port", "tls"), [(UNREACHABLE, 80, False), (SERVER, SILENT_PORT, True)], ids=["connect", "handshake"]
)
def test_timeout_cancels_and_leaves_nothing_open(site: ExampleOrg, loop: Loop, host: str, port: int, tls: bool) -> None:
    site.run(run, loop, fail_in_time, host, port, tls)


async def serve(place: nsbroker.Namespace, host: str | list[str] | None, asked: str) -> bytes:
    async with await inside.start_server(place, echo, host, 80) as server:
        assert server.is_serving()
        assert all(sock.getsockname()[1] == 80 for sock in server.sockets)
        return await say(*await inside.open_connection(place, asked, 80))


@BOTH
@pytest.mark.parametrize(
    ("host", "asked"), [("127.0.0.1", "127.0.0.1"), (["127.0.0.1", "::1"], "::1"), (None, "localhost"), (None, CLIENT)]
)
def test_server_has_low_ports_on_every_address(
    site: ExampleOrg, loop: Loop, host: str | list[str] | None, asked: str
) -> None:
    """The broker binds one address, several or all."""
    assert site.run(run, loop, serve, host, asked) == b"hello\n"


async def serve_for_ever(place: nsbroker.Namespace) -> bool:
    server = await inside.start_server(place, echo, ["127.0.0.1", "::1"], 80, start_serving=False)
    assert not server.is_serving()
    task = asyncio.create_task(server.serve_forever())
    await asyncio.sleep(0)
    assert await say(*await inside.open_connection(place, "::1", 80)) == b"hello\n"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return server.is_serving()


@BOTH
def test_group_of_servers_serves_until_it_is_cancelled(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, serve_for_ever) is False


async def serve_twice(place: nsbroker.Namespace) -> int | None:
    async with await inside.start_server(place, echo, "127.0.0.1", 8080):
        with pytest.raises(OSError, match="in use") as caught:
            await inside.start_server(place, echo, ["::1", "127.0.0.1"], 8080)
        return caught.value.errno


@BOTH
def test_address_in_use_is_the_kernels_error(site: ExampleOrg, loop: Loop) -> None:
    """If one address of a server fails, its sockets at the other addresses are closed."""
    assert site.run(run, loop, serve_twice) == errno.EADDRINUSE


class Datagrams(asyncio.DatagramProtocol):
    """Puts received data into a queue. A server also sends it back."""

    def __init__(self, *, echoes: bool = False) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost = asyncio.get_running_loop().create_future()
        self._echoes = echoes

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))
        if self._echoes:
            self._transport.sendto(data, addr)


async def close_all(*pairs: tuple[asyncio.DatagramTransport, Datagrams]) -> None:
    for transport, protocol in pairs:
        transport.close()
        await protocol.lost


async def send_datagrams(place: nsbroker.Namespace) -> list[bytes]:
    server = await inside.create_datagram_endpoint(place, lambda: Datagrams(echoes=True), ("127.0.0.1", 53))
    client = await inside.create_datagram_endpoint(place, Datagrams, remote_addr=("localhost", 53), family=2)
    other = await inside.create_datagram_endpoint(place, Datagrams, ("127.0.0.1", 0), reuse_port=True)
    client[0].sendto(b"connected")
    answers = [(await client[1].received.get())[0]]
    other[0].sendto(b"unconnected", ("127.0.0.1", 53))
    answers.append((await other[1].received.get())[0])
    await close_all(server, client, other)
    return answers


@BOTH
def test_datagrams_go_there_and_back(site: ExampleOrg, loop: Loop) -> None:
    """From a low port, which the broker binds."""
    assert site.run(run, loop, send_datagrams) == [b"connected", b"unconnected"]


async def send_to_name(place: nsbroker.Namespace) -> str:
    pair = await inside.create_datagram_endpoint(place, Datagrams, ("0.0.0.0", 0))
    try:
        pair[0].sendto(b"x", (HOST, 53))
        error = await pair[1].errors.get()
    except ValueError as raised:  # uvloop's way
        error = raised
    await close_all(pair)
    return repr(error)


@BOTH
def test_datagram_to_a_name_is_refused(site: ExampleOrg, loop: Loop) -> None:
    """Asyncio would look it up outside, and `ExampleOrg.run` would see that."""
    assert HOST in site.run(run, loop, send_to_name)


def run_inside(namespace: str, loop_class: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    kind: Any = asyncio.SelectorEventLoop
    if loop_class == "uvloop.Loop":
        import uvloop  # Not before: tests of other things may be about a process without it.

        kind = uvloop.Loop
    with asyncio.Runner(loop_factory=inside.loop_factory(namespace, kind)) as runner:
        return runner.run(function(*args))  # type: ignore[arg-type]  # they are coroutines


async def use_loop() -> list[Any]:
    """It uses only asyncio itself, without a namespace."""
    loop = asyncio.get_running_loop()
    answers: list[Any] = [await ask(*await asyncio.open_connection(HOST, 80))]
    answers.append(await ask(*await asyncio.open_connection(HOST, 443, ssl=True, happy_eyeballs_delay=0.1)))
    found = await loop.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM)
    answers.append(found[0][4][0])
    answers.append(await loop.getnameinfo((SERVER, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
    async with await asyncio.start_server(echo, "127.0.0.1", 80):
        answers.append(await say(*await asyncio.open_connection("127.0.0.1", 80)))
    server = await loop.create_datagram_endpoint(lambda: Datagrams(echoes=True), ("127.0.0.1", 53))
    client = await loop.create_datagram_endpoint(Datagrams, remote_addr=("127.0.0.1", 53))
    client[0].sendto(b"datagram")
    answers.append((await client[1].received.get())[0])
    await close_all(server, client)
    return answers


@LOOP_CLASSES
def test_whole_loop_is_in_the_namespace(site: ExampleOrg, loop_class: str) -> None:
    """Connections, TLS, look-ups, servers and datagrams of code that does not know the namespace."""
    wanted = [CLIENT, CLIENT, SERVER, (SERVER, "80"), b"hello\n", b"datagram"]
    assert site.run(run_inside, loop_class, use_loop) == wanted


async def use_ready_sockets() -> bytes:
    """Sockets that a program brings itself, and those of no network."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    theirs.sendall(b"by a pair")
    theirs.close()
    reader, writer = await asyncio.open_connection(sock=ours)
    answer = await reader.read()
    writer.close()
    assert asyncio.get_running_loop() is loop
    return answer


@LOOP_CLASSES
def test_ready_sockets_are_used_as_they_are(site: ExampleOrg, loop_class: str) -> None:
    assert site.run(run_inside, loop_class, use_ready_sockets) == b"by a pair"


async def connect_sockets(namespace: str) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket() as own:
        own.setblocking(False)
        with pytest.raises(nsbroker.WrongNamespaceError):
            await asyncio.wait_for(loop.sock_connect(own, (HOST, 80)), 20)
    with nsbroker.Namespace(namespace).socket() as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (HOST, 80))
        return str(sock.getpeername()[0])


def run_sock_connect(namespace: str, loop_class: str) -> Any:
    return run_inside(namespace, loop_class, connect_sockets, namespace)


@LOOP_CLASSES
def test_socket_of_another_namespace_is_not_connected(site: ExampleOrg, loop_class: str) -> None:
    """A library that makes sockets by itself fails rather than leaks. Sockets of the namespace take names."""
    assert site.run(run_sock_connect, loop_class) == SERVER


@pytest.mark.parametrize("host", [HOST, SERVER])
@BOTH
def test_stopped_broker_never_blocks_the_loop(site: ExampleOrg, loop: Loop, host: str) -> None:
    """Nor does a look-up that waits for it."""
    os.kill(site.broker.pid, signal.SIGSTOP)
    try:
        site.run(wait_in_vain, loop, host)
    finally:
        os.kill(site.broker.pid, signal.SIGCONT)


def wait_in_vain(namespace: str, loop: Loop, host: str) -> None:
    place = nsbroker.Namespace(namespace, timeout=0.3)

    async def connect() -> None:
        with pytest.raises(nsbroker.BrokerUnavailableError):
            await inside.open_connection(place, host, 80)

    async def both() -> None:
        (await while_ticking(connect)).assert_never_blocked()

    loop.run(both)
