"""A user's own podman in a thread, and a process in a user and network namespace of its own as its container."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

ID = "5a" * 32
_UNSHARE, _CAT = shutil.which("unshare"), shutil.which("cat")
"""Found at once, since tests change the PATH."""

Answer = Callable[[socket.socket], None]
"""The reaction to one connection, which has sent its request already. The engine closes the connection afterwards."""


def describe(pid: int, name: str = "mine", **fields: Any) -> dict[str, Any]:
    """Return the description of a container that has just been started, as podman has it."""
    state = {"Running": True, "Pid": pid, "StartedAt": datetime.now(UTC).isoformat()}
    return {"Id": ID, "Name": f"/{name}", "State": state | fields.pop("State", {}), **fields}


def answer_with(description: object, status: str = "200 OK") -> Answer:
    """Answer over HTTP as podman does."""
    body = description if isinstance(description, bytes) else json.dumps(description).encode()
    return send(f"HTTP/1.0 {status}\r\nContent-Type: application/json\r\n\r\n".encode() + body)


def send(data: bytes) -> Answer:
    """Answer with any bytes."""
    return lambda connection: connection.sendall(data)


class FakeEngine:
    """Serves a Unix socket. `answer` can be changed at any time, and `requests` has all requests."""

    def __init__(self, path: Path, answer: Answer) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.answer = answer
        self.requests: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        path.chmod(0o666)
        self._listener.listen(16)
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._visit, args=(connection,), daemon=True).start()

    def _visit(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self.requests.append(connection.recv(65536))
            self.answer(connection)

    def close(self) -> None:
        for sock in (self._listener, *self._open):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._thread.join()
        self.path.unlink(missing_ok=True)


@contextmanager
def fake_engine(runtime: Path, answer: Answer, engine: str = "podman") -> Iterator[FakeEngine]:
    """Serve the socket of an engine below the directory that XDG_RUNTIME_DIR names."""
    path = runtime / ("podman/podman.sock" if engine == "podman" else "docker.sock")
    made = FakeEngine(path, answer)
    try:
        yield made
    finally:
        made.close()


def make_command(directory: Path, script: str) -> Path:
    """Write a program named podman into a directory for PATH."""
    directory.mkdir(exist_ok=True)
    path = directory / "podman"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


class Process:
    """A process in namespaces of its own, with `pid`. `network` is the device and inode of its network namespace."""

    def __init__(self) -> None:
        if _UNSHARE is None or _CAT is None:
            pytest.skip("there is no unshare")
        self._process = subprocess.Popen(
            [_UNSHARE, "--user", "--map-root-user", "--net", _CAT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # unshare was refused, and has ended already
            self._process.stdin.write(b"x\n")
            self._process.stdin.flush()
        if not self._process.stdout.readline():
            self.close()
            pytest.skip("this machine allows no user namespaces")
        self.pid = self._process.pid
        status = os.stat(f"/proc/{self.pid}/ns/net")
        self.network = status.st_dev, status.st_ino

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


@contextmanager
def process_of_container() -> Iterator[Process]:
    """Start a process that is the first one of a container."""
    process = Process()
    try:
        yield process
    finally:
        process.close()
