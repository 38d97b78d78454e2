"""Waiting, apart from everything that is waited for, so that all else is written once for threads and event loops.

Steps are a generator: it does its input and output itself, on non-blocking sockets, and whenever it can't go on it
yields what it waits for: (deadline, sockets). The deadline is in the time of `time.monotonic`, and may be infinity;
sockets are (socket, READ or WRITE) pairs, and none of them is a pause. Whoever runs the steps waits, in whatever way,
and sends back those pairs that are ready; () when the deadline came first. A socket with an error is ready.

    try:
        deadline, sockets = next(steps)
        while True:
            deadline, sockets = steps.send(<those that are ready>)
    except StopIteration as end:
        return end.value
    except BaseException:
        steps.close()  # Interrupted or cancelled: what the steps have open is closed now.
        raise

`run` does so in a thread; `async_client.asyncio`, `async_client.trio` and `async_client.anyio` have theirs.
"""

from __future__ import annotations

import select
from time import monotonic, sleep

READ = int(select.POLLIN)
WRITE = int(select.POLLOUT)

_LONGEST_POLL_S = 1e6
"""poll(2) takes milliseconds as an int."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Generator
    from typing import TypeAlias, TypeVar

    T = TypeVar("T")

    Sockets: TypeAlias = tuple[tuple[socket.SocketType, int], ...]
    Wait: TypeAlias = tuple[float, Sockets]  # No class: it would cost each request 0.2 us.
    Steps: TypeAlias = Generator[Wait, Sockets, T]


class DeadlineError(Exception):
    """The deadline passed first."""


def run(steps: Steps[T]) -> T:
    """Run steps in this thread, which waits where they wait; return what they return."""
    try:
        deadline, sockets = next(steps)
        while True:
            deadline, sockets = steps.send(_poll(deadline, sockets))
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException:
        steps.close()
        raise


def _poll(deadline: float, sockets: Sockets) -> Sockets:
    left_s = deadline - monotonic()
    if not sockets:
        sleep(max(0, min(left_s, _LONGEST_POLL_S)))
        return ()
    poll = select.poll()
    for sock, event in sockets:
        poll.register(sock.fileno(), event)
    ready = poll.poll(int(min(left_s, _LONGEST_POLL_S) * 1000) + 1 if left_s > 0 else 0)
    if len(ready) == len(sockets):
        return sockets
    numbers = {number for number, _ in ready}
    return tuple(pair for pair in sockets if pair[0].fileno() in numbers)
