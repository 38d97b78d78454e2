"""A proxy for a namespace with servers and names, and clients of it that do exactly what a test wants."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from support.brokers.process import BrokerProcess
from support.names import dnsmasq
from support.names.dnsmasq import ADDRESS, ADDRESS6, Dnsmasq, OwnFiles
from support.sockets_inside import open_inside
from support.tool.running import Running, RunTool, program, run_tool
from support.waiting import LIMIT_S

HOST, HOST4, HOST6 = "www.test", "four.test", "six.test"
HOST_OF_DOCUMENTS = "www.example.org"
UNKNOWN = "nothing.test"
SILENT = dnsmasq.SILENT
CLOSED_PORT = 1
RECORDS = [
    "--local=/#/",
    f"--host-record={HOST},{ADDRESS},{ADDRESS6}",
    f"--host-record={HOST4},{ADDRESS}",
    f"--host-record={HOST6},{ADDRESS6}",
    f"--host-record={HOST_OF_DOCUMENTS},{ADDRESS}",
]


class Inside(NamedTuple):
    """A namespace with ADDRESS and ADDRESS6, whose names only its own name server knows."""

    name: str
    broker: BrokerProcess
    run: RunTool

    def start(
        self, *args: str, uid: int = 0, before: Callable[[], object] = lambda: None, options: Sequence[str] = ()
    ) -> Proxied:
        """Start a proxy, with these options or on a free port, and wait until it listens. Its user is the test's."""
        listen = [] if "-l" in args else ["-l", "127.0.0.1:0"]
        running = self.run.start(*options, self.name, "proxy", *listen, *args, uid=uid, before=before)
        return Proxied(running, running.read_until("\n").splitlines())


class Proxied(NamedTuple):
    """A proxy that runs. `addresses` are those that it has printed."""

    running: Running
    addresses: list[str]

    @property
    def address(self) -> str:
        return self.addresses[0]

    @property
    def pid(self) -> int:
        return self.running.pid

    def connect(self, timeout: float | None = LIMIT_S) -> socket.socket:
        """Connect to the first listener, from this process."""
        return connect(self.address, timeout)

    def descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def connect(address: str, timeout: float | None = LIMIT_S) -> socket.socket:
    """Connect to an address that a proxy has printed."""
    if address.startswith("/"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(timeout)
        sock.connect(address)
        return sock
    host, _, port = address.rpartition(":")
    return socket.create_connection((host.strip("[]"), int(port)), timeout)


def socks(sock: socket.socket, host: str, port: int) -> int:
    """Ask by SOCKS5 for a connection to a name, and return the reply code."""
    sock.sendall(b"\x05\x01\x00")
    assert exactly(sock, 2) == b"\x05\x00"
    sock.sendall(b"\x05\x01\x00\x03" + bytes((len(host),)) + host.encode() + struct.pack("!H", port))
    head = exactly(sock, 4)
    exactly(sock, 6 if head[3] == 1 else 18)
    return head[1]


def tunnel(sock: socket.socket, host: str, port: int) -> int:
    """Ask by CONNECT, and return the status."""
    sock.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += exactly(sock, 1)
    return int(head.split()[1])


def memory(pid: int) -> int:
    """The resident bytes of a process."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def exactly(sock: socket.socket, count: int) -> bytes:
    """Receive so many bytes."""
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, f"it ended after {data!r}"
        data += part
    return data


def to_the_end(sock: socket.socket) -> bytes:
    """Receive everything."""
    data = bytearray()
    while part := sock.recv(2**18):
        data += part
    return bytes(data)


def curl(*args: str) -> subprocess.CompletedProcess[str]:
    """Run curl as this user."""
    command = [program("curl"), "-q", "-sS", "--max-time", str(LIMIT_S), *args]
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)


class Server:
    """Listens in the namespace, on all addresses, and serves each connection in a thread by `serve`."""

    def __init__(self, namespace: str, serve: Callable[[socket.socket], object], port: int = 0) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
            self._listener = open_inside(namespace, socket.SOCK_STREAM, port, socket.AF_INET6)
        self._listener.listen(4096)
        self.port: int = self._listener.getsockname()[1]
        self.peers: list[str] = []
        self._serve = serve
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, address = self._listener.accept()
            except OSError:
                return
            self.peers.append(address[0])
            threading.Thread(target=self._converse, args=(sock,), daemon=True).start()

    def _converse(self, sock: socket.socket) -> None:
        sock.settimeout(LIMIT_S)
        with sock:
            try:
                self._serve(sock)
            except OSError:
                return  # The test has ended its side.

    def close(self) -> None:
        if self._listener.fileno() < 0:
            return
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(LIMIT_S)


def echo(sock: socket.socket) -> None:
    """Send back everything, and half-close at the end."""
    while data := sock.recv(2**16):
        sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def answer_http(sock: socket.socket) -> None:
    """Answer one request with its own bytes."""
    request = b""
    while b"\r\n\r\n" not in request:
        part = sock.recv(2**16)
        if not part:
            return
        request += part
    length = f"Content-Length: {len(request)}\r\nConnection: close\r\n\r\n"
    sock.sendall(b"HTTP/1.1 200 OK\r\n" + length.encode() + request)


@contextmanager
def inside(broker: BrokerProcess, name: str) -> Iterator[Inside]:
    """Give a namespace its network, its name server and its files. All proxies end with the test."""
    dnsmasq.add_network(name)
    files = OwnFiles(name)
    files.write(f"nameserver {ADDRESS}\n", "")
    server = Dnsmasq(name, RECORDS)
    try:
        with run_tool(broker) as run:
            yield Inside(name, broker, run)
    finally:
        server.stop()
        files.close()
