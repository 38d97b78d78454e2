"""Single sockets, as steps: the plain non-blocking ones that event loops want, and connecting them."""

from __future__ import annotations

import os
import socket
from math import inf

from ..link.waiting import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..link.waiting import Steps


def connect(sock: socket.socket, address: tuple[Any, ...], deadline: float = inf) -> Steps[None]:
    """Connect a non-blocking socket to a numeric address.

    Raises:
        OSError: as connect(2); a TimeoutError when the deadline passed first.
    """
    try:
        sock.connect(address)
    except (BlockingIOError, InterruptedError):
        if not (yield deadline, ((sock, WRITE),)):
            raise TimeoutError from None
        if number := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(number, os.strerror(number)) from None
