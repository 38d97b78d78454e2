"""Connect beyond the quota of connections, in a loop.

The log got a line for each, and the unit lifts the limits of the journal. Now the log has a few lines of a user in each
second, and the number of the others.
"""

from __future__ import annotations

import contextlib
import socket

from nsbrokerd.clients.quotas import Quotas
from nsbrokerd.service.line_quota import MOST_FOR_USER

from ..attack import Attack, Orders, Target
from .connect_and_close import connect

MOST = Quotas().clients_per_user

LONGEST_LINE_BYTES = 1024
"""Of the log. Most have 150."""


def attack(target: Target, number: int, orders: Orders) -> None:
    held: list[socket.socket] = []
    for _ in range(MOST):
        with contextlib.suppress(OSError):
            held.append(connect(target.path))
    orders.is_ready(number)
    while orders.goes_on():
        with contextlib.suppress(OSError), connect(target.path) as sock:
            sock.recv(4096)
            orders.has_done(number)
    for sock in held:
        sock.close()


TURNED_AWAY = Attack(
    "connections past the quota",
    __doc__ or "",
    attack,
    1,
    "connections that were turned away",
    most_written_kib=(MOST_FOR_USER + 1) * LONGEST_LINE_BYTES // 1024,
)
