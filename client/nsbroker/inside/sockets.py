"""Single sockets, as steps: the plain non-blocking ones that event loops want, and connecting them."""

from __future__ import annotations

import errno
import os
import socket
from math import inf

from ..waiting import WRITE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..waiting import Steps

_UNDER_WAY = frozenset({errno.EINPROGRESS, errno.EINTR})


def connect(sock: socket.socket, address: tuple[Any, ...], deadline: float = inf) -> Steps[None]:
    """Connect a non-blocking socket to a numeric address.

    Raises:
        OSError: as connect(2); a TimeoutError when the deadline passed first.
    """
    number = sock.connect_ex(address)
    if number in _UNDER_WAY:
        if not (yield deadline, ((sock, WRITE),)):
            raise TimeoutError
        number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if number:
        raise OSError(number, os.strerror(number))
