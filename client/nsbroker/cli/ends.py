"""The ends of a relay: how to read from each kind of standard input, and write to each kind of standard output.

Neither can be made non-blocking: O_NONBLOCK would bind everyone who has the same pipe or terminal.
"""

from __future__ import annotations

import os
import socket
import stat

from .failure import FailureError
from .flows import CopiedFlow, SplicedFlow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .flows import Flow

STDIN, STDOUT = 0, 1

_BUFFER_BYTES = 2**18
_DATAGRAM_BYTES = 16384
"""As nc(1) sends what it reads."""
_SAFE_WRITE_BYTES = 4096
"""A pipe that poll(2) calls writable takes this much without blocking: PIPE_BUF."""
_DONTWAIT = int(socket.MSG_DONTWAIT)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)


def sending_flow(sock: socket.socket, *, datagrams: bool) -> Flow:
    """Make the flow from standard input to a non-blocking socket.

    Its `advance` raises OSError when sending fails, and FailureError when reading does.
    """
    mode = os.fstat(STDIN).st_mode
    if stat.S_ISFIFO(mode) and not datagrams:
        return SplicedFlow(STDIN, sock.fileno())
    stream = socket.SocketType(fileno=os.dup(STDIN)) if stat.S_ISSOCK(mode) else None

    def read(buffer: memoryview) -> int:
        try:
            return stream.recv_into(buffer, 0, _DONTWAIT) if stream else os.readv(STDIN, [buffer])
        except BlockingIOError:
            raise
        except OSError as error:
            raise FailureError(f"standard input: {error.strerror}") from error

    def write(buffer: memoryview) -> int:
        return sock.send(buffer, _NOSIGNAL)

    return CopiedFlow(STDIN, sock.fileno(), read, write, _DATAGRAM_BYTES if datagrams else _BUFFER_BYTES)


def receiving_flow(sock: socket.socket, *, datagrams: bool) -> Flow:
    """Make the flow from a non-blocking socket to standard output.

    Its `advance` raises BrokenPipeError when nobody reads standard output any more, else FailureError.
    """
    mode = os.fstat(STDOUT).st_mode
    if stat.S_ISFIFO(mode) and not datagrams:
        return SplicedFlow(sock.fileno(), STDOUT)
    stream = socket.SocketType(fileno=os.dup(STDOUT)) if stat.S_ISSOCK(mode) else None
    most_bytes = _BUFFER_BYTES if stat.S_ISREG(mode) else _SAFE_WRITE_BYTES

    def read(buffer: memoryview) -> int:
        return sock.recv_into(buffer)

    def write(buffer: memoryview) -> int:
        try:
            if stream:
                return stream.send(buffer, _DONTWAIT | _NOSIGNAL)
            return os.write(STDOUT, buffer[:most_bytes])
        except (BlockingIOError, BrokenPipeError):
            raise
        except OSError as error:
            raise FailureError(f"standard output: {error.strerror}") from error

    return CopiedFlow(sock.fileno(), STDOUT, read, write, _BUFFER_BYTES, is_endless=datagrams)


def end_output() -> None:
    """Let whoever reads standard output see its end, though there may be more to send."""
    if os.path.sameopenfile(STDIN, STDOUT) and stat.S_ISSOCK(os.fstat(STDOUT).st_mode):
        # Standard input keeps it open, so that to close it would tell nobody.
        with socket.socket(fileno=os.dup(STDOUT)) as stream:
            try:
                stream.shutdown(socket.SHUT_WR)
            except OSError:
                return  # Its other end is gone, and so nobody is to be told.
    # A closed descriptor's number would go to the next file, so another one takes its place.
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, STDOUT)
    os.close(null)
