"""One direction of a relay: moves bytes between a socket and standard input or output, and never blocks.

Standard input and output can't be made non-blocking: O_NONBLOCK would bind every process that shares the same pipe or
terminal. So each type of file is read and written in its own way.
"""

from __future__ import annotations

import os
import select
import socket
import stat

from .messages import FailureError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Flow(Protocol):
        """One direction. `waits_for` is a descriptor and an event of poll(2) before which `advance` moves no byte."""

        waits_for: tuple[int, int]

        def advance(self) -> bool:
            """Move all bytes that can be moved at once. Return False when all bytes of the source were moved."""


STDIN, STDOUT = 0, 1

_BUFFER_BYTES = 2**18
_DATAGRAM_BYTES = 16384
"""Size of the datagrams that nc(1) makes of its standard input."""
_SAFE_WRITE_BYTES = 4096
"""PIPE_BUF: a pipe that poll(2) calls writable takes this much without blocking."""
_SPLICE_BYTES = 2**20
"""More than a pipe holds."""
_DONTWAIT = int(socket.MSG_DONTWAIT)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)


class SplicedFlow:
    """Bytes that stay in the kernel. One end is a pipe, the other one a non-blocking socket.

    splice(2) into a blocking socket could wait, whatever its flags say. A pipe obeys the flags.

    Raises:
        OSError: by `advance`, as splice(2), about either end.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._until_readable, self._until_writable = (source, select.POLLIN), (sink, select.POLLOUT)
        self.waits_for = self._until_readable

    def advance(self) -> bool:
        """Move all bytes that can be moved at once. Return False at the end."""
        try:
            count = os.splice(self._source, self._sink, _SPLICE_BYTES, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            # One end was ready, so the other end is not. To wait for the first one again would spin.
            was_readable = self.waits_for is self._until_readable
            self.waits_for = self._until_writable if was_readable else self._until_readable
            return True
        self.waits_for = self._until_readable
        return count > 0


class CopiedFlow:
    """Bytes that pass through a buffer. It reads only when the buffer is written out.

    Args:
        source: the descriptor to poll before reading.
        sink: the descriptor to poll before writing.
        read: reads into a buffer, as os.readv(2) does, and returns the number of bytes.
        write: writes from a buffer, and returns the number of bytes.
        buffer_bytes: how much to read at once.
        is_endless: an empty read is an empty datagram, not the end.
    """

    def __init__(
        self,
        source: int,
        sink: int,
        read: Callable[[memoryview], int],
        write: Callable[[memoryview], int],
        buffer_bytes: int,
        *,
        is_endless: bool = False,
    ) -> None:
        self._until_readable, self._until_writable = (source, select.POLLIN), (sink, select.POLLOUT)
        self._read, self._write = read, write
        self._buffer = memoryview(bytearray(buffer_bytes))
        self._unwritten = self._buffer[:0]
        self._is_endless = is_endless
        self.waits_for = self._until_readable

    def advance(self) -> bool:
        """Move all bytes that can be moved at once. Return False at the end."""
        try:
            if self._unwritten:
                self._unwritten = self._unwritten[self._write(self._unwritten) :]
            else:
                count = self._read(self._buffer)
                self._unwritten = self._buffer[:count]
                if not count:
                    return self._is_endless
        except BlockingIOError:
            return True
        self.waits_for = self._until_writable if self._unwritten else self._until_readable
        return True


def sending_flow(sock: socket.socket, *, datagrams: bool) -> Flow:
    """Return the flow from standard input to a non-blocking socket.

    Its `advance` raises OSError if sending fails, and FailureError if reading fails.
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
            raise FailureError(f"can't read standard input: {error.strerror}") from error

    def write(buffer: memoryview) -> int:
        return sock.send(buffer, _NOSIGNAL)

    return CopiedFlow(STDIN, sock.fileno(), read, write, _DATAGRAM_BYTES if datagrams else _BUFFER_BYTES)


def receiving_flow(sock: socket.socket, *, datagrams: bool) -> Flow:
    """Return the flow from a non-blocking socket to standard output.

    Its `advance` raises BrokenPipeError if standard output has no reader any more, and FailureError if another error
    occurs.
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
            raise FailureError(f"can't write to standard output: {error.strerror}") from error

    return CopiedFlow(sock.fileno(), STDOUT, read, write, _BUFFER_BYTES, is_endless=datagrams)


def end_output() -> None:
    """Let the reader of standard output see its end, though there may be more to send."""
    if os.path.sameopenfile(STDIN, STDOUT) and stat.S_ISSOCK(os.fstat(STDOUT).st_mode):
        # Standard input keeps the socket open, so the reader would not notice a close.
        with socket.socket(fileno=os.dup(STDOUT)) as stream:
            try:
                stream.shutdown(socket.SHUT_WR)
            except OSError:
                return  # The reader is gone.
    # The next opened file would get the number of a closed descriptor, so /dev/null takes its place.
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, STDOUT)
    os.close(null)
