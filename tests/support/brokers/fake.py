"""A broker for the client's tests: a forked process with a script, so that it can misbehave and be killed.

It makes real sockets, in its own namespace, whatever namespace is asked for.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import os
import select
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from nsbroker import wire
from nsbroker.link.fdpass import lend_packet, take_packet

SO_COOKIE, SO_NETNS_COOKIE = 57, 71

FILES = wire.ResolverFiles(
    "nameserver 127.83.19.6\noptions timeout:1 attempts:1\n",
    "127.0.0.1 web.example\n::1 web.example\n",
    "/resolv.conf",
)
"""A namespace with one known host, and a name server that does not exist. The machine may have one at 127.0.0.1."""

FILES_WITHOUT_DNS = FILES._replace(files={"nsswitch.conf": "hosts: files\n"})
"""The same namespace, whose names are all in the hosts file: no name server is asked."""

Script = Callable[["Visit"], None]
"""The reaction to one request. It sends only the answers that the script calls for."""


class FakeChannel:
    """Both ends of the channel of a connection."""

    def __init__(self) -> None:
        self.end, self._clients_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._is_sent = False

    def take_clients_end(self) -> list[int]:
        """Return the client's end, for the first reply that has descriptors, and later no descriptor."""
        is_sent, self._is_sent = self._is_sent, True
        return [] if is_sent else [self._clients_end.fileno()]

    def close(self) -> None:
        self.end.close()
        self._clients_end.close()


class Visit:
    """One request, in the fake broker's process."""

    def __init__(
        self, connection: socket.socket, channel: FakeChannel, request: wire.Request, fds: list[int], number: int
    ) -> None:
        self.connection = connection
        self.channel = channel
        self.request = request
        self.fds = fds
        self.number = number
        """How many requests this process has had, this one included."""

    def reply(self, reply: wire.Reply, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send a reply as a broker does: the descriptors first, over the channel."""
        if fds:
            self.deliver(fds)
        self.send(wire.encode_reply(reply), self.channel.take_clients_end() if fds else ())

    def deliver(self, fds: list[int] | tuple[int, ...], request_id: int | None = None) -> None:
        """Send the descriptors of a reply over the channel."""
        packet = wire.encode_delivery(self.request.request_id if request_id is None else request_id)
        _lend(self.channel.end, packet, fds)

    def send(self, packet: bytes, fds: list[int] | tuple[int, ...] = ()) -> None:
        """Send any packet on the connection."""
        _lend(self.connection, packet, fds)

    def fail(self, code: str, number: int | None = None, index: int | None = None, message: str = "no") -> None:
        self.reply(wire.ErrorReply(self.request.request_id, code, message, number, index))

    def make(self) -> tuple[list[socket.socket], list[wire.OpenedSocket]]:
        """Make the requested sockets, and their description for the reply."""
        assert isinstance(self.request, wire.OpenRequest)
        sockets = [_make(spec) for spec in self.request.sockets]
        return sockets, [wire.OpenedSocket(cookie(sock)) for sock in sockets]

    def describe(self, opened: Sequence[wire.OpenedSocket], *entered: wire.EnteredNamespace) -> wire.OpenReply:
        """Return the reply with these sockets. They are in this process's namespace, unless the test knows better."""
        is_grouped = isinstance(self.request, wire.OpenRequest) and self.request.is_grouped
        return wire.OpenReply(self.request.request_id, entered or (own_namespace(),), tuple(opened), None, is_grouped)

    def grant(self, files: wire.ResolverFiles = FILES) -> None:
        """Answer as a broker does."""
        if isinstance(self.request, wire.NamespacesRequest):
            return self.list_namespaces()
        if isinstance(self.request, wire.ResolverRequest):
            blob = wire.encode_resolver_files(files)
            return self.reply(wire.BlobReply(self.request.request_id, len(blob)), [memfd(blob)])
        if isinstance(self.request, wire.ExplainRequest):
            blob = wire.encode_explanation(
                wire.Explanation(None, 0, False, True, (wire.GrantSummary("web", ()),), ((),))
            )
            return self.reply(wire.BlobReply(self.request.request_id, len(blob)), [memfd(blob)])
        try:
            sockets, opened = self.make()
        except OSError as error:
            return self.fail(wire.OS_ERROR, error.errno or errno.EIO, 0, os.strerror(error.errno))
        self.reply(self.describe(opened), fds_of(sockets))
        for sock in sockets:
            sock.close()
        return None

    def list_namespaces(self, *names: str, engines: Mapping[str, str] = {}) -> None:
        """Answer with a list of two namespaces, and of further ones with these names."""
        grants = (
            wire.GrantSummary("web", ("tcp", "udp"), ("*:80",)),
            wire.GrantSummary("names", ("udp",), limit=wire.LimitSummary(("10.0.0.0/8:53", "[fd00::/8]:53"), ())),
        )
        entries = (("blue", (0, 1)), ("@host", (0,)), *((name, (0,)) for name in names))
        blob = wire.encode_namespaces(wire.NamespaceList(grants, entries, engines))
        self.reply(wire.BlobReply(self.request.request_id, len(blob)), [memfd(blob)])


def _lend(sock: socket.socket, packet: bytes, fds: list[int] | tuple[int, ...]) -> None:
    # The client may be gone already.
    if sock.fileno() >= 0:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            lend_packet(sock, packet, fds)


def memfd(blob: bytes, *, sealed: bool = True) -> int:
    import fcntl

    fd = os.memfd_create("blob", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, blob)
    if sealed:
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, 0xF)
    return fd


def _make(spec: wire.SocketSpec) -> socket.socket:
    sock = socket.socket(spec.family, spec.type, spec.proto)
    try:
        for level, name, value in spec.options:
            sock.setsockopt(level, name, value)
        if spec.bind is not None:
            sock.bind(spec.bind)
        if spec.listen is not None:
            sock.listen(spec.listen)
    except BaseException:
        sock.close()
        raise
    return sock


def fds_of(sockets: Sequence[socket.socket]) -> list[int]:
    return [sock.fileno() for sock in sockets]


def cookie(sock: socket.socket, name: int = SO_COOKIE) -> int:
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, name, 8), sys.byteorder)


def own_namespace() -> wire.EnteredNamespace:
    """Return the namespace of this process."""
    status = os.stat("/proc/self/ns/net")
    with socket.socket() as sock:
        return wire.EnteredNamespace(cookie(sock, SO_NETNS_COOKIE), status.st_dev, status.st_ino)


def honest(visit: Visit) -> None:
    visit.grant()


class FakeBroker:
    """A broker in a process of its own, from `start` to `kill`. Its listener lives on, as systemd's does."""

    def __init__(self, script: Script = honest, backlog: int = 64) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="nsbroker-fake-")
        Path(self.directory.name).chmod(0o755)
        self.path = f"{self.directory.name}/socket"
        self.script = script
        self.backlog = backlog
        self.pid = 0
        self.listener: socket.socket | None = None
        self.listen()

    def listen(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.listener.bind(self.path)
        os.chmod(self.path, 0o666)
        self.listener.listen(self.backlog)

    def unlisten(self) -> None:
        """Take the socket away, as the end of a broker without socket activation does."""
        assert self.listener is not None
        self.listener.close()
        self.listener = None
        os.unlink(self.path)

    def start(self) -> None:
        assert self.pid == 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads: the child uses none of theirs
            self.pid = os.fork()
        if self.pid == 0:
            try:
                _serve(self.listener, self.script, f"{self.directory.name}/log")
            finally:
                os._exit(1)

    def kill(self) -> None:
        pid, self.pid = self.pid, 0
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def close(self) -> None:
        self.kill()
        if self.listener is not None:
            self.listener.close()
        self.directory.cleanup()

    def seen(self) -> list[str]:
        """One line for each request, from all processes: "connection's number, ids and number of specs"."""
        try:
            return Path(f"{self.directory.name}/log").read_text().splitlines()
        except FileNotFoundError:
            return []


def _serve(listener: socket.socket | None, script: Script, log: str) -> None:
    assert listener is not None
    connections: dict[int, tuple[socket.socket, FakeChannel]] = {}
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    number = 0
    with open(log, "a", buffering=1) as seen:
        while True:
            for fd, _ in poll.poll():
                if fd == listener.fileno():
                    accepted, _ = listener.accept()
                    connections[accepted.fileno()] = accepted, FakeChannel()
                    poll.register(accepted, select.POLLIN)
                    continue
                connection, channel = connections[fd]
                packet, fds = b"", []
                # The client may go with a reply unread.
                with contextlib.suppress(ConnectionResetError):
                    packet, fds = take_packet(connection, wire.MAX_PACKET_BYTES, wire.MAX_SENT_FDS)
                if not packet:
                    poll.unregister(fd)
                    del connections[fd]
                    connection.close()
                    channel.close()
                    continue
                number += 1
                request = wire.decode_request(packet)
                specs = len(request.sockets) if isinstance(request, wire.OpenRequest) else 0
                seen.write(f"{request.request_id} {specs} {len(fds)}\n")
                script(Visit(connection, channel, request, fds, number))
                for lent in fds:
                    os.close(lent)


def die(_: Visit) -> None:
    """End without a word, as by kill -9 in the middle of a request."""
    os.kill(os.getpid(), signal.SIGKILL)


@contextlib.contextmanager
def fake_broker(script: Script = honest) -> Iterator[FakeBroker]:
    broker = FakeBroker(script)
    broker.start()
    try:
        yield broker
    finally:
        broker.close()


def descriptors(*, first: bool = False) -> int:
    """How many descriptors this process has open.

    Before the `first` look, the garbage of earlier tests goes, which could be closed between two looks.
    """
    if first:
        gc.collect()
    return len(os.listdir("/proc/self/fd"))
