"""anyio in a namespace, on asyncio, uvloop and trio."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import anyio
import pytest

import nsbroker
from nsbroker.adapters import anyio as inside
from support.adapters.echo import REQUEST, body, descriptors
from support.adapters.example_org import (
    CLIENT,
    CLOSED_PORT,
    HOST,
    SERVER,
    TWO_OF_THE_CLIENT,
    UNKNOWN,
    UNREACHABLE,
    UNTRUSTED,
    ExampleOrg,
)
from support.adapters.loops import ASYNCIO, TRIO, UVLOOP, Loop, on, start_each
from support.inside import call_inside

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


async def fail_look_up(place: nsbroker.Namespace) -> BaseException | None:
    with pytest.raises(socket.gaierror) as caught:
        await inside.connect_tcp(place, UNKNOWN, 80)
    return caught.value.__context__


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
    assert site.run(run, loop, fail_look_up) is None
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


async def listen_on_a_free_port(place: nsbroker.Namespace, host: str | None, family: int) -> list[Any]:
    async with await inside.create_tcp_listener(place, local_host=host, family=family) as listener:
        attributes = [each.extra(anyio.abc.SocketAttribute.local_address) for each in listener.listeners]
        port = attributes[0][1]
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            for address in {CLIENT if family != socket.AF_INET6 else "::1", host or "127.0.0.1"}:
                async with await inside.connect_tcp(place, address, port) as stream:
                    await stream.send(b"hello")
                    assert await stream.receive() == b"hello"
            group.cancel_scope.cancel()
    return [(address, number == port) for address, number in attributes]


@ALL
def test_free_port_is_the_same_for_all_families(site: ExampleOrg, loop: Loop) -> None:
    """Without a host, it is one socket of both families, as in anyio."""
    assert site.run(run, loop, listen_on_a_free_port, None, 0) == [("::", True)]
    assert site.run(run, loop, listen_on_a_free_port, "0.0.0.0", 0) == [("0.0.0.0", True)]


async def listen_on_a_name(place: nsbroker.Namespace, host: str) -> list[Any]:
    async with await inside.create_tcp_listener(place, local_host=host) as listener:
        return [each.extra(anyio.abc.SocketAttribute.local_address) for each in listener.listeners]


@ALL
def test_free_port_is_the_same_for_all_addresses_of_a_name(site: ExampleOrg, loop: Loop) -> None:
    (first, port), (second, same_port) = site.run(run, loop, listen_on_a_name, TWO_OF_THE_CLIENT)
    assert {first, second} == {CLIENT, "127.0.0.1"}
    assert port == same_port != 0


async def listen_beside_others(place: nsbroker.Namespace) -> list[int | None]:
    """The namespace has two free ports, each of which is in use at one of the addresses."""
    failing = pytest.raises(OSError, match="Could not create 2 listeners with a consistent port")
    with place.create_server((CLIENT, 40000)), place.create_server(("127.0.0.1", 40001)), failing as caught:
        await listen_on_a_name(place, TWO_OF_THE_CLIENT)
    assert isinstance(caught.value.__cause__, ExceptionGroup)
    return [error.errno for error in caught.value.__cause__.exceptions if isinstance(error, OSError)]


@ALL
def test_search_for_a_free_port_has_an_end(site: ExampleOrg, loop: Loop) -> None:
    """With the error of anyio, and without open descriptors."""
    ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
    before = call_inside(site.client, ports.read_text)
    call_inside(site.client, ports.write_text, "40000 40001")
    try:
        assert site.run(run, loop, listen_beside_others) == [errno.EADDRINUSE] * 10
    finally:
        call_inside(site.client, ports.write_text, before)


async def no_delay(place: nsbroker.Namespace) -> int:
    async with await inside.connect_tcp(place, HOST, 80) as stream:
        return stream.extra(anyio.abc.SocketAttribute.raw_socket).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@ALL
def test_connection_sends_without_delay(site: ExampleOrg, loop: Loop) -> None:
    """As anyio's own on each backend."""
    assert site.run(run, loop, no_delay) == 1


async def compare_look_ups(place: nsbroker.Namespace) -> list[str]:
    """Return the inputs for which anyio itself, with numeric hosts only, gives another result."""
    numeric = {"flags": socket.AI_NUMERICHOST}
    differing = []
    for host, options in [
        ("::1", numeric),
        ("fe80::1%1", numeric),
        ("127.0.0.1", numeric),
        (b"::1", numeric | {"type": socket.SOCK_STREAM}),
        ("::ffff:127.0.0.1", numeric | {"family": socket.AF_INET6}),
    ]:
        ours, theirs = await inside.getaddrinfo(place, host, 0, **options), await anyio.getaddrinfo(host, 0, **options)
        if ours != theirs:
            differing.append(f"{host!r} {options}: {ours}, not {theirs}")
    return differing


@ALL
def test_addresses_have_the_form_of_anyio(site: ExampleOrg, loop: Loop) -> None:
    """Two items, also for IPv6, with the scope in the host."""
    assert site.run(run, loop, compare_look_ups) == []


async def look_up_by_idna(place: nsbroker.Namespace) -> str:
    """IDNA 2003, the rule of the socket module, has another name for this host."""
    with pytest.raises(socket.gaierror):
        await inside.getaddrinfo(place, "fa\N{LATIN SMALL LETTER SHARP S}.example.org", 80)
    return (await inside.getaddrinfo(place, "b\N{LATIN SMALL LETTER SHARP S}.example.org", 80))[0][4][0]


@ALL
def test_names_are_encoded_by_idna_2008(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, look_up_by_idna) == SERVER


async def connected_from(place: nsbroker.Namespace, port: int) -> tuple[Any, Any]:
    async with await inside.create_connected_udp_socket(place, SERVER, 53, local_port=port) as udp:
        return udp.extra(anyio.abc.SocketAttribute.local_address), udp.extra(anyio.abc.SocketAttribute.remote_address)


@ALL
def test_connected_socket_has_the_local_port_without_a_host(site: ExampleOrg, loop: Loop) -> None:
    assert site.run(run, loop, connected_from, 5353) == ((CLIENT, 5353), (SERVER, 53))


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
