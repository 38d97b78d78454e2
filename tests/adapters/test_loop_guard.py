"""A library that would leave the namespace of an event loop is refused by name, and sends nothing outside."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import importlib.util
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import nsbroker
from nsbroker.adapters import asyncio as inside
from support.adapters.example_org import CLIENT, CLIENT_HOST, HOST, SERVER, UNKNOWN, ExampleOrg
from support.adapters.outside import LEAK_PORT
from support.namespaces import PREFIX

LOOP_CLASSES = pytest.mark.parametrize("loop_class", ["SelectorEventLoop", "uvloop.Loop"])
OUTSIDE = "a socket of the program's own network namespace for the event loop"


def run(namespace: str, loop_class: str, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    kind: Any = asyncio.SelectorEventLoop
    if loop_class == "uvloop.Loop":
        import uvloop

        kind = uvloop.Loop
    with asyncio.Runner(loop_factory=inside.loop_factory(namespace, kind, **options)) as runner:
        return runner.run(function(*args))  # type: ignore[arg-type]  # they are coroutines


def run_in_asyncio(namespace: str, function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
    return run(namespace, "SelectorEventLoop", function, *args, **options)


def texts(error: BaseException | None) -> str:
    """The messages of an exception and of those that led to it."""
    return "" if error is None else f"{error!s}\n{texts(error.__cause__ or error.__context__)}"


IN_C = {"psycopg": "psycopg_binary", "zmq.asyncio": "zmq", "grpc.aio": "grpc", "pycares": "pycares"}
"""Modules, and the package of each that connects in C."""


@pytest.fixture(params=IN_C)
def in_c(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if importlib.util.find_spec(name.partition(".")[0]) is None:
        pytest.skip(f"{name} is not installed")
    return name


async def refuse_import(name: str) -> str:
    with pytest.raises(ImportError) as caught:
        importlib.import_module(name)
    return str(caught.value)


def import_during_a_loop(namespace: str, name: str) -> tuple[str, str]:
    refusal = run_in_asyncio(namespace, refuse_import, name)
    importlib.import_module(name)
    with pytest.raises(nsbroker.BypassError) as caught:
        inside.loop_factory(namespace)()
    run_in_asyncio(namespace, asyncio.sleep, 0, allow=[IN_C[name]])
    return refusal, str(caught.value)


def test_library_that_connects_in_c_is_refused_while_a_loop_exists(site: ExampleOrg, in_c: str) -> None:
    """It would connect before the loop sees a socket. If it is loaded, there is no loop, unless you allow it."""
    for refusal in site.run(import_during_a_loop, in_c):
        assert f"{IN_C[in_c]} connects by " in refusal
        assert f"which the event loop of '{site.client}' can't reach: use " in refusal
        assert f"loop_factory(..., allow=['{IN_C[in_c]}'])" in refusal


async def refuse(kind: type[BaseException], function: Callable[..., Any], *args: Any) -> str:
    with pytest.raises(kind) as caught:
        await function(*args)
    return texts(caught.value)


async def connect_by_aiohttp(host: str) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as session:
        await session.get(f"http://{host}:{LEAK_PORT}")


async def connect_by_aiomqtt(host: str) -> None:
    import aiomqtt

    async with aiomqtt.Client(host, LEAK_PORT, timeout=5):
        pass


async def ask_by_puresnmp(host: str) -> None:
    import puresnmp

    await puresnmp.PyWrapper(puresnmp.Client(host, puresnmp.V2C("public"))).get("1.3.6.1.2.1.1.1.0")


async def connect_by_requests(host: str) -> None:
    import requests

    await asyncio.to_thread(requests.get, f"http://{host}:{LEAK_PORT}", proxies={"http": ""}, timeout=5)


async def ask_by_dnspython(host: str) -> None:
    import dns.asyncresolver

    await dns.asyncresolver.Resolver().resolve(host)


async def look_up(host: str) -> None:
    socket.getaddrinfo(host, 80)


async def look_up_in_a_thread(host: str) -> None:
    await asyncio.to_thread(socket.gethostbyname, host)


async def send_in_a_thread(host: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        await asyncio.to_thread(sock.sendto, b"", (host, LEAK_PORT))


async def connect_blocking(host: str) -> None:
    with socket.socket() as sock:
        sock.connect((host, LEAK_PORT))


async def connect_before_the_loop_watches(host: str) -> None:
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect((host, LEAK_PORT))


BY_ITSELF = "by the C library, which the event loop of "
LEAVING = (
    ("aiohttp", connect_by_aiohttp, "127.0.0.1", OUTSIDE, "nsbroker.adapters.aiohttp"),
    ("aiomqtt", connect_by_aiomqtt, "127.0.0.1", OUTSIDE, "nsbroker.adapters.aiomqtt"),
    ("aiomqtt", connect_by_aiomqtt, HOST, BY_ITSELF, "nsbroker.adapters.aiomqtt"),
    ("dns", ask_by_dnspython, HOST, "reads /etc/resolv.conf by itself", "nsbroker.adapters.dnspython"),
    ("puresnmp", ask_by_puresnmp, HOST, BY_ITSELF, "a numeric address"),
    ("requests", connect_by_requests, "127.0.0.1", OUTSIDE, "nsbroker.adapters.requests"),
    ("requests", connect_by_requests, HOST, BY_ITSELF, "nsbroker.adapters.requests"),
    ("tests", look_up, HOST, BY_ITSELF, "`nsbroker-get NS run`"),
    ("this program", look_up_in_a_thread, HOST, BY_ITSELF, "`nsbroker-get NS run`"),
    ("this program", send_in_a_thread, "127.0.0.1", OUTSIDE, "`nsbroker-get NS run`"),
    ("tests", connect_blocking, HOST, BY_ITSELF, "`nsbroker-get NS run`"),
    ("tests", connect_before_the_loop_watches, "127.0.0.1", OUTSIDE, "`nsbroker-get NS run`"),
)
"""For each: the library, its use, a host, and parts of the refusal: the fact, and the way in that it names."""


@pytest.mark.parametrize(
    ("library", "use", "host", "fact", "way"), LEAVING, ids=[f"{use.__name__}-{host}" for _, use, host, *_ in LEAVING]
)
@pytest.mark.filterwarnings("ignore")
def test_library_is_refused_by_name_before_it_leaves(
    site: ExampleOrg, library: str, use: Callable[..., Awaitable[None]], host: str, fact: str, way: str
) -> None:
    """`ExampleOrg.run` sees each packet outside, where something listens."""
    if use.__name__.startswith(("connect_by", "ask_by")) and importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    refusal = site.run(run_in_asyncio, refuse, Exception, use, host)
    assert fact in refusal
    assert f"use {way}" in refusal
    assert f"{library} " in refusal


class Numbered:
    """An object with a descriptor."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()


async def give_own_sockets() -> None:
    loop: Any = asyncio.get_running_loop()
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            for given in (sock, sock.fileno(), Numbered(sock)):
                for watch in (loop.add_reader, loop.add_writer):
                    with pytest.raises(nsbroker.WrongNamespaceError, match=OUTSIDE):
                        watch(given, print)
            for use in (
                loop.sock_recv(sock, 1),
                loop.sock_recv_into(sock, bytearray(1)),
                loop.sock_recvfrom(sock, 1),
                loop.sock_recvfrom_into(sock, bytearray(1)),
                loop.sock_sendall(sock, b""),
                loop.sock_sendto(sock, b"", ("127.0.0.1", LEAK_PORT)),
                loop.sock_connect(sock, ("127.0.0.1", LEAK_PORT)),
                loop.sock_accept(sock),
                loop.sock_sendfile(sock, None),
                loop.connect_read_pipe(asyncio.Protocol, sock),
                loop.connect_write_pipe(asyncio.Protocol, sock),
            ):
                with pytest.raises(nsbroker.WrongNamespaceError, match=r"loop\.allow\(sock\)"):
                    await asyncio.wait_for(use, 10)


@LOOP_CLASSES
def test_loop_takes_no_socket_of_the_programs_own_namespace(site: ExampleOrg, loop_class: str) -> None:
    """A socket, its descriptor or an object with one, in every method."""
    site.run(run, loop_class, give_own_sockets)


async def watch_once(sock: Any) -> None:
    loop = asyncio.get_running_loop()
    loop.add_writer(sock, print)
    loop.remove_writer(sock)


async def give_other_files(namespaces: list[str]) -> str:
    loop = asyncio.get_running_loop()
    for namespace in namespaces:
        with nsbroker.Namespace(namespace).socket() as sock:
            await watch_once(sock)
            await watch_once(sock.fileno())
    closed = socket.socket()
    closed.close()
    with pytest.raises(ValueError, match="-1"):
        loop.add_reader(closed, print)
    near, far = socket.socketpair()
    reader, writer = os.pipe()
    for file in (near, near.fileno(), writer):
        await watch_once(file)
    far.send(b"local")
    near.setblocking(False)
    answer = await loop.sock_recv(near, 9)
    near.close(), far.close(), os.close(reader), os.close(writer)
    return answer.decode()


@LOOP_CLASSES
def test_loop_takes_sockets_of_other_namespaces_and_local_files(
    site: ExampleOrg, loop_class: str, make_namespace: Callable[[str], str]
) -> None:
    """One loop can listen in one namespace and connect in another."""
    make_namespace(f"{PREFIX}alpha".removeprefix(PREFIX))
    assert site.run(run, loop_class, give_other_files, [site.client, f"{PREFIX}alpha"]) == "local"


async def use_allowed_sockets() -> bytes:
    loop: Any = asyncio.get_running_loop()
    listener = socket.create_server(("", 0))
    listener.setblocking(False)
    loop.allow(listener)
    await watch_once(listener)
    await watch_once(listener.fileno())
    accepting = asyncio.create_task(loop.sock_accept(listener))
    await asyncio.sleep(0)
    accepting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await accepting
    first = len(loop._guard._allowed)
    for _ in range(10):
        with socket.socket() as sock:
            loop.allow(sock)
            await watch_once(sock)
    del sock
    gc.collect()
    assert len(loop._guard._allowed) == first, "the list grows"
    with socket.socket() as sock:
        with pytest.raises(nsbroker.WrongNamespaceError):
            await watch_once(sock.fileno())
        loop.allow(sock.fileno())
        await watch_once(sock.fileno())
    async with await asyncio.start_server(print, sock=listener):
        pass
    return b"done"


@LOOP_CLASSES
def test_socket_that_you_allow_or_pass_is_used(site: ExampleOrg, loop_class: str) -> None:
    """By `loop.allow`, or as `sock=`."""
    assert site.run(run, loop_class, use_allowed_sockets) == b"done"


LIBRARY = """
with socket.socket() as sock:
    loop.add_writer(sock, print)
    loop.remove_writer(sock)
"""


async def import_socket_of(library: str) -> None:
    exec(LIBRARY, {"__name__": library, "socket": socket, "loop": asyncio.get_running_loop()})


def test_library_that_you_allow_by_name_may_leave(site: ExampleOrg) -> None:
    with pytest.raises(nsbroker.WrongNamespaceError, match="some_library has a socket"):
        site.run(run_in_asyncio, import_socket_of, "some_library.part")
    site.run(run_allowing, import_socket_of, "some_library.part")


def run_allowing(namespace: str, function: Callable[..., Awaitable[Any]], *args: Any) -> Any:
    return run_in_asyncio(namespace, function, *args, allow=["some_library"])


async def connect_by_names(namespace: str) -> list[str]:
    loop = asyncio.get_running_loop()
    answers = []
    for make in (nsbroker.Namespace(namespace).socket, plain_socket_of(namespace)):
        with make() as sock:
            sock.setblocking(False)
            await loop.sock_connect(sock, (HOST, 80))
            answers.append(sock.getpeername()[0])
    return answers


def plain_socket_of(namespace: str) -> Callable[[], socket.socket]:
    def make() -> socket.socket:
        return socket.socket(fileno=nsbroker.Namespace(namespace).socket().detach())

    return make


@LOOP_CLASSES
def test_name_for_a_socket_is_looked_up_in_its_namespace(site: ExampleOrg, web: None, loop_class: str) -> None:
    assert site.run(run_with_name, loop_class, connect_by_names) == [SERVER, SERVER]


def run_with_name(namespace: str, loop_class: str, function: Callable[..., Awaitable[Any]]) -> Any:
    return run(namespace, loop_class, function, namespace)


async def name_for_another_namespace(other: str) -> str:
    loop = asyncio.get_running_loop()
    with plain_socket_of(other)() as sock:
        sock.setblocking(False)
        return await refuse(socket.gaierror, loop.sock_connect, sock, (HOST, 80))


@LOOP_CLASSES
def test_name_for_a_plain_socket_of_another_namespace_is_refused(
    site: ExampleOrg, loop_class: str, make_namespace: Callable[[str], str]
) -> None:
    """The loop can't ask there."""
    refusal = site.run(run, loop_class, name_for_another_namespace, make_namespace("beta"))
    assert f"'{HOST}' is not a numeric address" in refusal


async def accept_in_the_same_thread(namespace: str) -> str:
    place = nsbroker.Namespace(namespace)
    loop = asyncio.get_running_loop()
    with place.create_server(("127.0.0.1", 0)) as listener, place.socket() as sock:
        sock.setblocking(False)
        listener.settimeout(10)
        connecting = asyncio.create_task(loop.sock_connect(sock, listener.getsockname()))
        await asyncio.sleep(0)
        accepted, address = listener.accept()
        accepted.close()
        await connecting
        return str(address[0])


@LOOP_CLASSES
def test_connect_to_an_address_begins_at_once(site: ExampleOrg, loop_class: str) -> None:
    """After one turn of the loop, a blocking accept in its thread finds the connection."""
    assert site.run(run_with_name, loop_class, accept_in_the_same_thread) == "127.0.0.1"


async def fetch_from(local: str) -> str:
    import aiohttp

    from nsbroker.adapters.aiohttp import TCPConnector

    connector = TCPConnector(os.environ["NAMESPACE"], local_addr=(local, 0))
    async with aiohttp.ClientSession(connector=connector) as session, session.get(f"http://{HOST}/peer") as answer:
        return await answer.text()


def fetch(namespace: str, local: str) -> str:
    os.environ["NAMESPACE"] = namespace
    return asyncio.run(fetch_from(local))


@pytest.mark.parametrize("local", [CLIENT_HOST, CLIENT, ""])
def test_own_address_of_aiohttp_is_looked_up_inside(site: ExampleOrg, web: None, local: str) -> None:
    """Aiohttp leaves a name to `bind` of a plain socket."""
    assert site.run(fetch, local) == CLIENT


def fail_from(namespace: str, local: str) -> str:
    import aiohttp

    with pytest.raises(aiohttp.ClientConnectorError) as caught:
        fetch(namespace, local)
    return str(caught.value)


@pytest.mark.parametrize(("local", "text"), [("localhost", "Invalid argument"), (UNKNOWN, "Name or service not known")])
def test_own_address_of_aiohttp_is_bound_to(site: ExampleOrg, web: None, local: str, text: str) -> None:
    """The server can't be reached from a loopback address, nor from an unknown one."""
    assert text in site.run(fail_from, local)


def test_guard_ends_with_its_loop(site: ExampleOrg) -> None:
    """Also if the program never closes it."""
    site.run(leave_loops)


def leave_loops(namespace: str) -> None:
    import sys
    import warnings

    before = list(sys.meta_path)
    factory = inside.loop_factory(namespace)
    loop = factory()
    assert sys.meta_path != before
    loop.close()
    assert sys.meta_path == before
    warnings.simplefilter("ignore", ResourceWarning)
    loop = factory()
    del loop
    gc.collect()
    assert sys.meta_path == before
