"""Asks the user's own podman or docker about a container: by its socket, otherwise by the command podman.

The socket answers in a millisecond. The command takes 40, and needs no service. Both are asked over `wait`, so an
event loop goes on meanwhile. The answers are bounded in time and length.
"""

from __future__ import annotations

import errno
import os
import socket
import sys

# From here, because `patch` replaces the class in the socket module.
from _socket import socketpair
from time import monotonic

from .engine_answers import Container, EngineError, NoContainerError, read_container, read_http
from .waiting import READ, wait

TYPE_CHECKING = False
if TYPE_CHECKING:
    from subprocess import Popen

_SOCKETS = {"podman": "podman/podman.sock", "docker": "docker.sock"}
"""Below XDG_RUNTIME_DIR. Source: podman-system-service(1), and Docker's documentation of the rootless mode."""
MAX_ANSWER_BYTES = 2**22
"""A usual answer has 4 KB. The labels of an image can be long."""
SOCKET_LIMIT_S = 1.0
"""Seconds for the socket. After that the command is tried."""
_PAUSE_S = 0.01
_LOOK_S = 0.05
"""How often to look whether the command has ended: its children can keep the output open."""
_MAX_READ_BYTES = 2**16
_MAX_SAID = 200
_TYPE = int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
_REMOTE = ("CONTAINER_HOST", "CONTAINER_CONNECTION")
"""Variables by which podman asks another machine, whose processes are not those of this one."""


async def ask(engine: str, name: str, deadline: float) -> Container:
    """Ask an engine about a container.

    Args:
        engine: "podman" or "docker".
        name: a legal name of a container.
        deadline: in the time of `time.monotonic`.

    Raises:
        NoContainerError: the engine has no such container, or it does not run.
        EngineError: neither way gave a valid answer.
    """
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    path = f"{runtime}/{_SOCKETS[engine]}"
    try:
        data = await _ask_socket(path, name, min(deadline, monotonic() + SOCKET_LIMIT_S))
        return read_container(read_http(data, name), name)
    except EngineError as error:
        problem = f"{path}: {error}"
    if engine != "podman":
        raise EngineError(problem)
    command = _find_command("podman")
    if command is None:
        raise EngineError(f"{problem}; there is no command podman on the PATH")
    try:
        return read_container(await _run_command(command, name, deadline), name)
    except EngineError as error:
        raise EngineError(f"{problem}; {command}: {error}") from error


async def _ask_socket(path: str, name: str, deadline: float) -> bytes:
    """Ask over HTTP/1.0, so that the answer comes in one piece and ends with the connection."""
    sock = socket.SocketType(socket.AF_UNIX, _TYPE)
    try:
        sock.settimeout(0)
        await _connect(sock, path, deadline)
        _check_peer(sock)
        sock.send(f"GET /containers/{name}/json HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        return await _read_all(sock, deadline)
    except OSError as error:
        raise EngineError(error.strerror or str(error)) from error
    finally:
        sock.close()


async def _connect(sock: socket.SocketType, path: str, deadline: float) -> None:
    while True:
        try:
            return sock.connect(path)
        except BlockingIOError:  # The backlog is full. connect(2) of a Unix socket does not go on by itself.
            if monotonic() + _PAUSE_S > deadline:
                raise EngineError("it takes no connections") from None
        await wait(monotonic() + _PAUSE_S, ())


def _check_peer(sock: socket.SocketType) -> None:
    """Refuse a server of another user: root may have the XDG_RUNTIME_DIR of the user who called sudo."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    uid = int.from_bytes(credentials[4:8], sys.byteorder)
    if uid != os.geteuid():
        raise EngineError(f"it belongs to the uid {uid}, not to you")


async def _read_all(sock: socket.SocketType, deadline: float) -> bytes:
    data = bytearray()
    while True:
        if monotonic() >= deadline or not await wait(deadline, ((sock, READ),)):
            raise EngineError("it does not answer in time")
        part = _read_some(sock)
        if part is not None:
            data += part
        if part == b"":
            return bytes(data)
        if len(data) > MAX_ANSWER_BYTES:
            raise EngineError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")


def _read_some(sock: socket.SocketType) -> bytes | None:
    """Return the next bytes, b"" at the end, or `None` if there are none yet."""
    try:
        return sock.recv(_MAX_READ_BYTES)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def _find_command(name: str) -> str | None:
    places = [f"{directory}/{name}" for directory in os.get_exec_path() if directory.startswith("/")]
    return next((place for place in places if os.path.isfile(place) and os.access(place, os.X_OK)), None)


async def _run_command(command: str, name: str, deadline: float) -> bytes:
    """Return the output of `podman container inspect`. At the deadline, the command is killed."""
    from subprocess import DEVNULL, Popen

    pairs = [socketpair(socket.AF_UNIX, _TYPE & ~socket.SOCK_NONBLOCK) for _ in range(2)]
    (out, out_child), (err, err_child) = pairs
    process: Popen[bytes] | None = None
    try:
        process = Popen(  # noqa: S603  # the name is legal, and no shell reads it
            [command, "container", "inspect", name],
            stdin=DEVNULL,
            stdout=out_child.fileno(),
            stderr=err_child.fileno(),
            env={key: value for key, value in os.environ.items() if key not in _REMOTE},
            cwd="/",
            start_new_session=True,
        )
        out_child.close()
        err_child.close()
        return _output(name, process, *await _collect(process, out, err, deadline))
    except OSError as error:
        raise EngineError(error.strerror or str(error)) from error
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        for pair in pairs:
            for sock in pair:
                sock.close()


async def _collect(
    process: Popen[bytes], out: socket.SocketType, err: socket.SocketType, deadline: float
) -> tuple[bytes, bytes]:
    """Read both outputs until the command has ended."""
    texts = {out: bytearray(), err: bytearray()}
    for sock in texts:
        sock.settimeout(0)
    left = [out, err]
    while True:
        # First look, then read: all that it has written is there once it has ended.
        has_ended = process.poll() is not None
        for sock in [*left]:
            while part := _read_some(sock):
                texts[sock] += part
                if len(texts[sock]) > MAX_ANSWER_BYTES:
                    raise EngineError(f"its answer is longer than {MAX_ANSWER_BYTES} bytes")
            if part == b"":
                left.remove(sock)
        if has_ended:
            return bytes(texts[out]), bytes(texts[err])
        now = monotonic()
        if now >= deadline:
            raise EngineError("it does not end in time")
        await wait(min(deadline, now + (_LOOK_S if left else _PAUSE_S / 10)), tuple((sock, READ) for sock in left))


def _output(name: str, process: Popen[bytes], out: bytes, err: bytes) -> bytes:
    if process.returncode == 0:
        return out
    said = " ".join(err.decode(errors="replace").split())[:_MAX_SAID]
    if "no such container" in said.lower():
        raise NoContainerError(f"there is no container {name!r}")
    raise EngineError(f"it ended with the status {process.returncode}: {said or os.strerror(errno.ENOMSG)}")
