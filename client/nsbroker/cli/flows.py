"""One direction of a relay: moves bytes from a descriptor to another, never waits, and says what it waits for."""

from __future__ import annotations

import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Flow(Protocol):
        """One direction. `waits_for` is a descriptor and the event of poll(2) before which `advance` can do nothing."""

        waits_for: tuple[int, int]

        def advance(self) -> bool:
            """Move what can be moved at once; False when the source is at its end and all of it was moved."""


_MOST_BYTES = 2**20
"""More than a pipe holds."""


class SplicedFlow:
    """Bytes that stay in the kernel. One of the two is a pipe, the other a non-blocking socket.

    A splice(2) into a blocking socket could wait, whatever its flags say; a pipe does as they say.

    Raises:
        OSError: by `advance`, as splice(2): of either end.
    """

    def __init__(self, source: int, sink: int) -> None:
        self._source, self._sink = source, sink
        self._until_readable, self._until_writable = (source, select.POLLIN), (sink, select.POLLOUT)
        self.waits_for = self._until_readable

    def advance(self) -> bool:
        """Move what can be moved at once; False at the end."""
        try:
            count = os.splice(self._source, self._sink, _MOST_BYTES, flags=os.SPLICE_F_NONBLOCK)
        except BlockingIOError:
            # One end was ready, and so it is the other one: to wait for the first again would be to spin.
            was_readable = self.waits_for is self._until_readable
            self.waits_for = self._until_writable if was_readable else self._until_readable
            return True
        self.waits_for = self._until_readable
        return count > 0


class CopiedFlow:
    """Bytes that pass through a buffer: nothing is read before what was read is written.

    Args:
        source: what to poll before reading.
        sink: what to poll before writing.
        read: reads into a buffer, as os.readv(2) does; gives the number of bytes.
        write: writes from a buffer; gives the number of bytes.
        buffer_bytes: how much to read at once.
        is_endless: nothing read is not the end, but an empty datagram.
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
        """Move what can be moved at once; False at the end."""
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
