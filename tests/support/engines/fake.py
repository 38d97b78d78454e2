"""An engine that answers any bytes. It speaks as much of the Docker Engine API as the tests need."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ID = "0123456789abcdef" * 4
OWNER_ID = "fedcba9876543210" * 4
THIRD_ID = "00ff" * 16

Answer = Callable[[str, socket.socket], None]
"""Answers one request: gets the target of the request and the connection, which is closed afterwards."""


def container(name: str = "web", **changes: object) -> dict[str, object]:
    """Return the answer about a container that runs in a network of its own.

    Args:
        name: its name.
        changes: other values for id, key, mode, started, resolv_conf, hosts, mounts, or members of State.
    """
    id_ = changes.pop("id", ID)
    return {
        "Id": id_,
        "Name": f"/{name}",
        "HostConfig": {"NetworkMode": changes.pop("mode", "bridge")},
        "NetworkSettings": {"SandboxKey": changes.pop("key", "/run/netns/nowhere")},
        "ResolvConfPath": changes.pop("resolv_conf", f"/var/lib/engine/{id_}/resolv.conf"),
        "HostsPath": changes.pop("hosts", f"/var/lib/engine/{id_}/hosts"),
        "Mounts": [{"Type": "bind", "Destination": place} for place in changes.pop("mounts", ())],
        "State": {"Running": True, "StartedAt": changes.pop("started", "2026-01-02T03:04:05.000000006Z"), **changes},
    }


def http(body: bytes, status: str = "200 OK", *head: str) -> bytes:
    """Return an answer of HTTP with the length of its body."""
    lines = [f"HTTP/1.1 {status}", *head, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chunked(body: bytes, size: int) -> bytes:
    """Return an answer of HTTP in chunks of this size."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = [b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""]]
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


def no_such_container(_target: str, connection: socket.socket) -> None:
    connection.sendall(http(b'{"message": "No such container"}', "404 Not Found"))


class FakeEngine:
    """The server. `targets` has the target of each request, in the order of their arrival."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.targets: list[str] = []
        self.ended = threading.Event()
        """Set when the test ends. A thread that hangs waits for it."""

        self.answer: Answer = self._answer_like_an_engine
        self._containers: dict[str, bytes] = {}

    def add(self, value: dict[str, object], *references: str) -> None:
        """Let the engine know a container by its name, its id, and further references."""
        body = json.dumps(value).encode()
        for reference in (str(value["Name"]).removeprefix("/"), str(value["Id"]), *references):
            self._containers[f"/containers/{reference}/json"] = body

    def say(self, *answers: bytes) -> None:
        """Answer each request with these bytes, one after the other, and then close the connection."""

        def answer(_target: str, connection: socket.socket) -> None:
            for part in answers:
                connection.sendall(part)

        self.answer = answer

    def hang(self, *answers: bytes) -> None:
        """Answer each request with these bytes, and then with no more."""

        def answer(_target: str, connection: socket.socket) -> None:
            for part in answers:
                connection.sendall(part)
            self.ended.wait()

        self.answer = answer

    def _answer_like_an_engine(self, target: str, connection: socket.socket) -> None:
        body = self._containers.get(target)
        if body is None:
            no_such_container(target, connection)
        else:
            connection.sendall(chunked(body, 2000))

    def _serve(self, connection: socket.socket) -> None:
        # The other side may close the connection at any time.
        with connection, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                part = connection.recv(4096)
                if not part:
                    return
                head += part
            method, target, _ = head.decode().split("\r\n", 1)[0].split(" ")
            assert method == "GET"
            self.targets.append(target)
            self.answer(target, connection)

    def serve_all(self, listener: socket.socket) -> None:
        """Serve each connection in a thread, until the listener is shut down."""
        threads = []
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                break
            threads.append(threading.Thread(target=self._serve, args=[connection]))
            threads[-1].start()
        for thread in threads:
            thread.join()


@contextmanager
def fake_engine(path: Path, uid: int | None = None) -> Iterator[FakeEngine]:
    """Serve at this path until the context ends. As root, you can let the server be another user's."""
    engine = FakeEngine(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        # The kernel reports the user that called listen(2). Source: unix(7), SO_PEERCRED.
        if uid is not None:
            os.seteuid(uid)
        listener.listen()
        if uid is not None:
            os.seteuid(0)
        thread = threading.Thread(target=engine.serve_all, args=[listener])
        thread.start()
        try:
            yield engine
        finally:
            engine.ended.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
