"""The driver for programs that wait keeps its deadlines and closes its sockets, over real sockets."""

from __future__ import annotations

import contextlib
import errno
import gc
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import nsbroker.names.inside
from nsbroker.link.errors import AccessDeniedError, BrokerUnavailableError
from nsbroker.link.waiting import connect
from nsbroker.names.dns.questions import TCP, UDP, frame, split_stream
from support.names.fake_dns import Blocking, Server

ZONE = {"www.test": "A 10.0.0.1\nAAAA 2001:db8::1", "big.test": "\n".join(f"A 10.1.0.{n}" for n in range(60))}


def _on_one_port() -> tuple[socket.socket, socket.socket]:
    """Return a UDP socket and a TCP listener on a loopback port. Try others if a program has it for TCP."""
    for _ in range(100):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        udp.bind(("127.0.0.1", 0))
        with contextlib.suppress(OSError):
            return udp, socket.create_server(udp.getsockname())
        udp.close()
    raise AssertionError("no loopback port is free for both UDP and TCP")


class LocalServer:
    """A `Server` at a loopback port of its own, by UDP and TCP, to which look-ups connect."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.udp, self.tcp = _on_one_port()
        self.opened: list[socket.socket] = []
        self.denied: frozenset[int] = frozenset()
        self._threads = [threading.Thread(target=serve) for serve in (self._serve_udp, self._serve_tcp)]
        for thread in self._threads:
            thread.start()

    def open_socket(self, family: int, kind: int) -> socket.socket:
        if kind in self.denied:
            raise AccessDeniedError(errno.EACCES, "no grant")
        self.opened.append(socket.socket(family, kind))
        return self.opened[-1]

    async def connect(self, sock: socket.socket, address: tuple[Any, ...], deadline: float) -> None:
        """Connect to this server in place of every other one."""
        await connect(sock, self.udp.getsockname() if address[1] == 53 else address, deadline)

    def _serve_udp(self) -> None:
        while data := self.udp.recvfrom(65535):
            if data[0] == b"end":
                return
            if answer := self.server.answer(data[0], UDP):
                self.udp.sendto(answer, data[1])

    def _serve_tcp(self) -> None:
        while True:
            try:
                connection = self.tcp.accept()[0]
            except OSError:
                return
            with connection:
                stream = b""
                while data := connection.recv(65535):
                    messages, stream = split_stream(stream + data)
                    for message in messages:
                        connection.sendall(frame((self.server.answer(message, TCP) or b"",)))

    def close(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"end", self.udp.getsockname())
        self.tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.tcp.close()
        self.udp.close()


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Server], LocalServer]]:
    servers: list[LocalServer] = []

    def start(server: Server) -> LocalServer:
        servers.append(LocalServer(server))
        monkeypatch.setattr(nsbroker.names.inside, "connect", servers[-1].connect)
        return servers[-1]

    yield start
    for server in servers:
        assert all(sock.fileno() == -1 for sock in server.opened), "a socket was left open"
        server.close()


class Files:
    origin = "/etc/resolv.conf"
    hosts = ""

    def __init__(self, text: str = "") -> None:
        self.resolv_conf = f"nameserver 10.0.0.53\n{text}"
        self.files: dict[str, str] = {}


def resolver(local: LocalServer, text: str = "") -> Blocking:
    return Blocking(local.open_socket, lambda: Files(text), "blue")


def test_names_are_looked_up_by_udp(serve: Callable[[Server], LocalServer]) -> None:
    local = serve(Server(ZONE))
    found = resolver(local).getaddrinfo("www.test", 80, socket.AF_INET, socket.SOCK_STREAM)
    assert found == [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", 80))]
    assert len(local.opened) == 1


def test_socket_of_the_question_finds_the_source_as_well(serve: Callable[[Server], LocalServer]) -> None:
    """Two sockets for a name with addresses of both families, not three."""
    local = serve(Server(ZONE))
    assert len(resolver(local).getaddrinfo("www.test", 80, type=socket.SOCK_STREAM)) == 2
    assert sorted((sock.family, sock.type) for sock in local.opened) == [
        (socket.AF_INET, socket.SOCK_DGRAM),
        (socket.AF_INET6, socket.SOCK_DGRAM),
    ]


def test_long_answers_are_read_by_tcp(serve: Callable[[Server], LocalServer]) -> None:
    found = resolver(serve(Server(ZONE))).getaddrinfo("big.test", 80, socket.AF_INET, socket.SOCK_STREAM)
    assert len(found) == 60


@pytest.mark.parametrize("denied", [UDP, TCP])
def test_one_transport_is_enough(serve: Callable[[Server], LocalServer], denied: int) -> None:
    """Then the sources are not known, nor which families there are, and all addresses are given."""
    local = serve(Server(ZONE))
    local.denied = frozenset({denied})
    found = resolver(local).getaddrinfo("www.test", 80, type=socket.SOCK_STREAM)
    assert {row[4][0] for row in found} == {"10.0.0.1", "2001:db8::1"}


def test_silent_server_takes_as_long_as_resolv_conf_says(serve: Callable[[Server], LocalServer]) -> None:
    local = serve(Server(ZONE, mute=["A"]))
    start = time.monotonic()
    with pytest.raises(socket.gaierror) as raised:
        resolver(local, "options timeout:1 attempts:1\n").getaddrinfo("www.test", 80, socket.AF_INET)
    assert raised.value.errno == socket.EAI_AGAIN
    assert 0.9 < time.monotonic() - start < 10


def test_answers_to_other_questions_do_not_make_the_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline is that of the question, however many packets come in the meantime."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)

    async def stay_as_it_is(*_: object) -> None: ...

    monkeypatch.setattr(nsbroker.names.inside, "connect", stay_as_it_is)

    class Flooded(socket.socket):
        def recv(self, *arguments: Any) -> bytes:
            theirs.send(b"x" * 40)
            return super().recv(*arguments)

    with ours, theirs:
        flooded = Flooded(socket.AF_UNIX, socket.SOCK_DGRAM, 0, ours.detach())
        start = time.monotonic()
        with pytest.raises(socket.gaierror) as raised:
            Blocking(lambda *_: flooded, lambda: Files("options timeout:1 attempts:1\n")).getaddrinfo("x.test", 80)
    assert raised.value.errno == socket.EAI_AGAIN
    assert time.monotonic() - start < 10
    assert flooded.fileno() == -1


def test_broker_that_fails_is_no_gaierror() -> None:
    """Neither for the files, nor for a socket."""
    failure = BrokerUnavailableError(errno.ECONNREFUSED, "the broker can't be reached")

    def fail(*_: object) -> Any:
        raise failure

    for broken in (Blocking(socket.socket, fail), Blocking(fail, Files)):
        with pytest.raises(BrokerUnavailableError):
            broken.getaddrinfo("www.test", 80)


def test_interrupt_closes_the_socket(serve: Callable[[Server], LocalServer]) -> None:
    local = serve(Server(ZONE))

    class Interrupted(socket.socket):
        def recv(self, *_: object) -> bytes:
            raise KeyboardInterrupt

    def interrupted(family: int, kind: int) -> socket.socket:
        local.opened.append(Interrupted(family, kind))
        return local.opened[-1]

    local.open_socket = interrupted  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        resolver(local).getaddrinfo("www.test", 80)
    gc.collect()


def test_threads_share_a_resolver(serve: Callable[[Server], LocalServer]) -> None:
    shared = resolver(serve(Server({f"n{n}.test": f"A 10.0.0.{n}" for n in range(1, 33)})))
    found: dict[int, str] = {}

    def find(n: int) -> None:
        found[n] = str(shared.getaddrinfo(f"n{n}.test", 80, socket.AF_INET)[0][4][0])

    threads = [threading.Thread(target=find, args=(n,)) for n in range(1, 33)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"10.0.0.{n}" for n in range(1, 33)}


def test_dnspython_is_loaded_for_the_first_question_and_not_before() -> None:
    code = (
        "import sys, socket, nsbroker.names.resolver\n"
        "from nsbroker.drivers.thread import run\n"
        "class Files: resolv_conf, hosts, origin, files = '', '10.0.0.1 host', '', {}\n"
        "async def open_socket(family, type): return socket.socket(family, type)\n"
        "async def read_files(): return Files\n"
        "resolver = nsbroker.names.resolver.Resolver(open_socket, read_files)\n"
        "for host in ('1.2.3.4', 'localhost', 'host'): run(resolver.getaddrinfo(host, 80))\n"
        "heavy = {'dns', 'dataclasses', 'typing', 'asyncio', 'secrets'} & sys.modules.keys()\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": ":".join(path for path in sys.path if path)}, check=True
    )
