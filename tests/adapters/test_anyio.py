"""anyio in a namespace, on asyncio, uvloop and trio."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import Any

import anyio
import pytest

import nsbroker
from nsbroker.adapters import anyio as inside
from support.adapters.echo import REQUEST, body, descriptors
from support.adapters.example_org import CLIENT, CLOSED_PORT, HOST, SERVER, UNKNOWN, UNREACHABLE, UNTRUSTED, ExampleOrg
from support.adapters.loops import ASYNCIO, TRIO, UVLOOP, Loop, on, start_each

ALL = on(ASYNCIO, UVLOOP, TRIO)

pytestmark = pytest.mark.usefixtures("web")


def run(namespace: str, loop: Loop, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a function in a loop, and check that no descriptor stays open."""
    start_each()
    place = nsbroker.Namespace(namespace)
    before = descriptors()
    result = loop.run(function, place, *args)
    place._place._broker.close()
    assert descriptors() == before
    return result


async def read_all(stream: anyio.abc.ByteReceiveStream) -> bytes:
    return b"".join([part async for part in stream])


async def ask(stream: anyio.abc.ByteStream) -> str:
    async with stream:
        await stream.send(REQUEST)
        return body(await read_all(stream))


async def echo(stream: anyio.abc.SocketStream) -> None:
    async with stream:
        await stream.send(await stream.receive())


async def get(place: nsbroker.Namespace, host: object, local_host: str | None = None) -> str:
    return await ask(await inside.connect_tcp(place, host, 80, local_host=local_host))


async def get_by_tls(place: nsbroker.Namespace, host: str) -> str:
    return await ask(await inside.connect_tcp(place, host, 443, tls=True, tls_standard_compatible=False))


@ALL
def test_connection_comes_from_the_namespace(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, get, HOST) == CLIENT
    assert site.run(run, loop, get, ip_address(SERVER), CLIENT) == CLIENT


@ALL
def test_tls_verifies_the_name(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, get_by_tls, HOST) == CLIENT


async def fail(place: nsbroker.Namespace, host: str, port: int, **options: Any) -> tuple[type[Any], type[Any]]:
    with pytest.raises((OSError, ssl.SSLError)) as caught:
        await inside.connect_tcp(place, host, port, **options)
    return type(caught.value), type(caught.value.__cause__)


async def fail_certificate(place: nsbroker.Namespace) -> tuple[type[Any], type[Any]]:
    return await fail(place, UNTRUSTED, 443, tls=True)


async def fail_in_time(place: nsbroker.Namespace) -> bool:
    with anyio.move_on_after(0.2) as scope:
        await inside.connect_tcp(place, UNREACHABLE, 80)
    return scope.cancelled_caught


@ALL
def test_errors_are_those_of_anyio(site: ExampleOrg, loop: Loop) -> None:
    """Unknown names, refused connections, wrong certificates and timeouts leave no descriptor open."""
    assert site.run(run, loop, fail, UNKNOWN, 80)[0] is socket.gaierror
    assert site.run(run, loop, fail, HOST, CLOSED_PORT) == (OSError, ConnectionRefusedError)
    assert ssl.SSLCertVerificationError in site.run(run, loop, fail_certificate)
    assert site.run(run, loop, fail_in_time) is True


async def serve(place: nsbroker.Namespace, host: str | None, asked: str) -> bytes:
    async with anyio.create_task_group() as group:
        listener = await inside.create_tcp_listener(place, local_host=host, local_port=80)
        group.start_soon(listener.serve, echo)
        async with await inside.connect_tcp(place, asked, 80) as stream:
            await stream.send(b"hello")
            answer = await read_all(stream)
        group.cancel_scope.cancel()
    await listener.aclose()
    return answer


@ALL
@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "127.0.0.1"), (None, "::1"), (None, CLIENT)])
def test_server_has_low_ports_on_every_address(site: ExampleOrg, loop: Loop, host: str | None, asked: str) -> None:
    """Bound by the broker."""
    assert site.run(run, loop, serve, host, asked) == b"hello"


async def serve_twice(place: nsbroker.Namespace) -> int | None:
    async with await inside.create_tcp_listener(place, local_host="127.0.0.1", local_port=8080):
        with pytest.raises(OSError, match="in use") as caught:
            await inside.create_tcp_listener(place, local_port=8080)
    return caught.value.errno


@ALL
def test_address_in_use_is_the_kernels_error(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, serve_twice) == errno.EADDRINUSE


async def send_datagrams(place: nsbroker.Namespace) -> list[bytes]:
    server = await inside.create_udp_socket(place, local_host="127.0.0.1", local_port=53)
    client = await inside.create_udp_socket(place, socket.AF_INET, reuse_port=True)
    connected = await inside.create_connected_udp_socket(place, "127.0.0.1", 53)
    answers = []
    async with server, client, connected:
        await client.sendto(b"to a number", "127.0.0.1", 53)
        answers.append((await server.receive())[0])
        await client.sendto(b"to a name", "localhost", 53)
        data, sender = await server.receive()
        answers.append(data)
        await server.send((b"and back", (sender[0], sender[1])))
        answers.append((await client.receive())[0])
        await connected.send(b"connected")
        answers.append((await server.receive())[0])
        with pytest.raises(socket.gaierror):
            await client.sendto(b"", UNKNOWN, 53)
        assert client.extra(anyio.abc.SocketAttribute.family) == socket.AF_INET
    return answers


@ALL
def test_datagrams_go_there_and_back(site: ExampleOrg, loop: Loop) -> None:
    """The datagrams come from a low port. `ExampleOrg.run` would see a look-up outside of the namespace."""
    wanted = [b"to a number", b"to a name", b"and back", b"connected"]
    assert site.run(run, loop, send_datagrams) == wanted


async def look_up(place: nsbroker.Namespace) -> tuple[Any, Any]:
    found = await inside.getaddrinfo(place, HOST, 80, type=socket.SOCK_STREAM)
    return found[0][4], await inside.getnameinfo(place, (SERVER, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)


@ALL
def test_names_are_those_of_the_namespace(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, look_up) == ((SERVER, 80), (SERVER, "80"))


async def open_neither(place: nsbroker.Namespace) -> None:
    with pytest.raises(ValueError, match="family"):
        await inside.create_udp_socket(place)


def test_socket_of_no_family_is_refused(site: ExampleOrg) -> None:
    site.run(run, ASYNCIO, open_neither)
