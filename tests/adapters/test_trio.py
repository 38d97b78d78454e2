"""trio in a namespace: streams, listeners, and the hooks that lead a whole run into it."""

from __future__ import annotations

import errno
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

import nsbroker
from nsbroker.adapters import trio as inside
from support.adapters.echo import REQUEST, body, descriptors
from support.adapters.example_org import CLIENT, CLOSED_PORT, HOST, SERVER, UNKNOWN, UNREACHABLE, UNTRUSTED, ExampleOrg
from support.adapters.loops import TRIO, while_ticking

pytestmark = pytest.mark.usefixtures("web")


def run(namespace: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    """Run a function in trio, and check that no descriptor stays open."""
    place = nsbroker.Namespace(namespace)
    before = descriptors()
    result = trio.run(function, place, *args)
    place._place._broker.close()
    assert descriptors() == before
    return result


async def ask(stream: trio.abc.Stream) -> str:
    async with stream:
        await stream.send_all(REQUEST)
        return body(await read_all(stream))


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    received = b""
    while part := await stream.receive_some(65536):
        received += part
    return received


async def echo(stream: trio.SocketStream) -> None:
    await stream.send_all(await stream.receive_some(100))


async def get(place: nsbroker.Namespace, host: str, local_address: str | None = None) -> str:
    return await ask(await inside.open_tcp_stream(place, host, 80, local_address=local_address))


async def get_by_tls(place: nsbroker.Namespace, host: str) -> str:
    return await ask(await inside.open_ssl_over_tcp_stream(place, host, 443, https_compatible=True))


def test_connection_comes_from_the_namespace(site: ExampleOrg) -> None:
    assert site.run(run, get, HOST) == CLIENT
    assert site.run(run, get, SERVER, CLIENT) == CLIENT


def test_tls_verifies_the_name(site: ExampleOrg) -> None:
    assert site.run(run, get_by_tls, HOST) == CLIENT


async def fail(place: nsbroker.Namespace, host: str, port: int) -> OSError:
    with pytest.raises(OSError, match=r"not known|failed") as caught:
        await inside.open_tcp_stream(place, host, port)
    return caught.value


async def fail_certificate(place: nsbroker.Namespace) -> str:
    stream = await inside.open_ssl_over_tcp_stream(place, UNTRUSTED, 443)
    with pytest.raises(trio.BrokenResourceError) as caught:
        await stream.do_handshake()
    await trio.aclose_forcefully(stream)
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    return str(caught.value.__cause__)


async def fail_in_time(place: nsbroker.Namespace) -> bool:
    with trio.move_on_after(0.2) as scope:
        await inside.open_tcp_stream(place, UNREACHABLE, 80)
    return scope.cancelled_caught


def test_errors_are_those_of_trio(site: ExampleOrg) -> None:
    """Unknown names, refused connections, wrong certificates and timeouts leave no descriptor open."""
    assert isinstance(site.run(run, fail, UNKNOWN, 80), socket.gaierror)
    refused = site.run(run, fail, HOST, CLOSED_PORT)
    assert (refused.errno, "all attempts to connect" in str(refused)) == (errno.ECONNREFUSED, True)
    assert "match" in site.run(run, fail_certificate)
    assert site.run(run, fail_in_time) is True


async def serve(place: nsbroker.Namespace, host: str | None, asked: str) -> bytes:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(lambda **status: inside.serve_tcp(place, echo, 80, host=host, **status))
        assert all(listener.socket.getsockname()[1] == 80 for listener in listeners)
        async with await inside.open_tcp_stream(place, asked, 80) as stream:
            await stream.send_all(b"hello")
            answer = await read_all(stream)
        nursery.cancel_scope.cancel()
    return answer


@pytest.mark.parametrize(("host", "asked"), [("127.0.0.1", "127.0.0.1"), (None, "::1"), (None, CLIENT)])
def test_server_has_low_ports_on_every_address(site: ExampleOrg, host: str | None, asked: str) -> None:
    """Bound by the broker."""
    assert site.run(run, serve, host, asked) == b"hello"


async def serve_twice(place: nsbroker.Namespace) -> OSError:
    listeners = await inside.open_tcp_listeners(place, 8080, host="127.0.0.1")
    with pytest.raises(OSError, match="in use") as caught:
        await inside.open_tcp_listeners(place, 8080)
    for listener in listeners:
        await listener.aclose()
    return caught.value


def test_address_in_use_is_the_kernels_error(site: ExampleOrg) -> None:
    assert site.run(run, serve_twice).errno == errno.EADDRINUSE


async def use_trio(place: nsbroker.Namespace) -> list[Any]:
    """After the first line, it uses only trio itself."""
    with inside.install(place):
        answers: list[Any] = [await ask(await trio.open_tcp_stream(HOST, 80))]
        answers.append(await ask(await trio.open_ssl_over_tcp_stream(HOST, 443, https_compatible=True)))
        answers.append((await trio.socket.getaddrinfo(HOST, 80, type=socket.SOCK_STREAM))[0][4][0])
        answers.append(await trio.socket.getnameinfo((SERVER, 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV))
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(lambda **status: trio.serve_tcp(echo, 0, host="127.0.0.1", **status))
            async with await trio.testing.open_stream_to_socket_listener(listener) as stream:
                await stream.send_all(b"hello")
                answers.append(await read_all(stream))
            nursery.cancel_scope.cancel()
        with trio.socket.socket(type=socket.SOCK_DGRAM) as server, trio.socket.socket(type=socket.SOCK_DGRAM) as client:
            await server.bind(("127.0.0.1", 0))
            await client.sendto(b"datagram", ("localhost", server.getsockname()[1]))
            answers.append((await server.recvfrom(100))[0])
    return answers


def test_whole_run_is_in_the_namespace(site: ExampleOrg) -> None:
    """Connections, TLS, look-ups, servers and datagrams of code that does not know the namespace."""
    wanted = [CLIENT, CLIENT, SERVER, (SERVER, "80"), b"hello", b"datagram"]
    assert site.run(run, use_trio) == wanted


async def use_unix(place: nsbroker.Namespace) -> tuple[bool, bool, bool]:
    def is_inside() -> bool:
        with trio.socket.socket() as sock, place.socket() as other:
            return sock.getsockopt(socket.SOL_SOCKET, 71, 8) == other.getsockopt(socket.SOL_SOCKET, 71, 8)

    hooks = inside.install(place)
    with trio.socket.socket(socket.AF_UNIX) as sock:
        assert sock.family == socket.AF_UNIX
    with inside.install("not-granted"), pytest.raises(nsbroker.AccessDeniedError):
        trio.socket.socket()
    again = is_inside()
    hooks.remove()
    return again, is_inside(), sock.fileno() == -1


def test_hooks_are_removed_in_turn(site: ExampleOrg) -> None:
    """The broker is not asked for Unix sockets."""
    assert site.run(run, use_unix) == (True, False, True)


@pytest.mark.parametrize("host", [HOST, SERVER])
def test_stopped_broker_never_blocks_the_loop(site: ExampleOrg, host: str) -> None:
    """Nor does a look-up that waits for it."""
    os.kill(site.broker.pid, signal.SIGSTOP)
    try:
        site.run(wait_in_vain, host)
    finally:
        os.kill(site.broker.pid, signal.SIGCONT)


def wait_in_vain(namespace: str, host: str) -> None:
    place = nsbroker.Namespace(namespace, timeout=0.3)

    async def connect() -> None:
        with pytest.raises(nsbroker.BrokerUnavailableError):
            await inside.open_tcp_stream(place, host, 80)

    async def both() -> None:
        (await while_ticking(connect)).assert_never_blocked()

    TRIO.run(both)


async def look_up_number(place: nsbroker.Namespace) -> None:
    with trio.testing.assert_checkpoints():
        await inside.getaddrinfo(place, "127.0.0.1", 80)
    with trio.CancelScope() as scope:
        scope.cancel()
        await inside.open_tcp_stream(place, SERVER, 80)
    assert scope.cancelled_caught


def test_every_call_is_a_checkpoint(site: ExampleOrg) -> None:
    """Even one that need not ask anybody."""
    site.run(run, look_up_number)


async def look_up_by_idna(place: nsbroker.Namespace) -> list[str]:
    name = "b\N{LATIN SMALL LETTER SHARP S}.example.org"
    async with await inside.open_tcp_stream(place, name, 80) as stream:
        peer = stream.socket.getpeername()
    return [peer[0], (await inside.getaddrinfo(place, name, 80, type=socket.SOCK_STREAM))[0][4][0]]


@pytest.mark.usefixtures("web")
def test_names_are_encoded_by_idna_2008(site: ExampleOrg) -> None:
    """As trio does. The socket module has another name for this host, by IDNA 2003."""
    assert site.run(run, look_up_by_idna) == [SERVER, SERVER]
