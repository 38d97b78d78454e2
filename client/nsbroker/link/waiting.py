"""`wait`, the only wait of this package. Code that takes time is `async def` code over it, the same for all drivers.

Such code does its own input and output on non-blocking sockets. When it can't continue, it awaits `wait`, which hands
the driver a deadline and the sockets to watch. The driver waits in its own way, and sends back the sockets that are
ready:

    try:
        deadline, sockets = coroutine.send(None)
        while True:
            deadline, sockets = coroutine.send(<those of the sockets that are ready>)
    except StopIteration as end:
        return end.value
    except BaseException:
        coroutine.close()  # Interrupted or cancelled: the code closes everything that it has open.
        raise

`nsbroker.drivers` has a driver for threads, and one each for asyncio, trio and anyio.
"""

from __future__ import annotations

import os
import select
import socket
from math import inf
from types import coroutine

READ = int(select.POLLIN)
WRITE = int(select.POLLOUT)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Coroutine, Generator
    from typing import Any, TypeAlias, TypeVar

    T = TypeVar("T")

    Sockets: TypeAlias = tuple[tuple[socket.SocketType, int], ...]
    Wait: TypeAlias = tuple[float, Sockets]  # A class would cost each request 0.2 us.
    Waiting: TypeAlias = Coroutine[Wait, Any, T]
    """Code for a driver."""


class DeadlineError(Exception):
    """The deadline passed."""


@coroutine
def wait(deadline: float, sockets: Sockets) -> Generator[Wait, Sockets, Sockets]:
    """Wait until one of the sockets is ready or the deadline passes.

    Args:
        deadline: in the time of `time.monotonic`, possibly infinity.
        sockets: pairs of a socket and READ or WRITE. Without any, this is a pause.

    Returns:
        The pairs that are ready, including sockets with an error, or () if the deadline passed first.
    """
    return (yield deadline, sockets)


async def connect(sock: socket.SocketType, address: tuple[Any, ...], deadline: float = inf) -> None:
    """Connect a non-blocking socket to a numeric address.

    Raises:
        OSError: as connect(2), or a TimeoutError without errno if the deadline passed.
    """
    try:
        socket.SocketType.connect(sock, address)  # The address is numeric, so no subclass need look up a name.
    except (BlockingIOError, InterruptedError):
        if not await wait(deadline, ((sock, WRITE),)):
            raise TimeoutError from None
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number)) from None
