"""Have refusals recorded that are as long as possible, in a loop.

A name of 800 bytes and 32 options of 256 bytes, which the audit wrote out as text, made 44 KB of a refused request: up
to 32 MB in a second. Now a record has a greatest length, and past a rate the audit counts the refusals of a user.
"""

from __future__ import annotations

import socket

from nsbroker import SocketSpec
from nsbroker.wire import ErrorReply, OpenRequest
from nsbrokerd.clients.client import RECORDED_REFUSALS

from ..attack import Attack, Orders, Target
from .asking import Stubborn, encoded

NAME_BYTES = 800
OPTIONS, OPTION_BYTES = 32, 256

LONGEST_RECORD_BYTES = 6000
"""Of the audit, with all texts at their greatest length."""


def refused() -> bytes:
    """Return a request whose record would be long."""
    options = tuple((int(socket.SOL_IP), number, b"\xff" * OPTION_BYTES) for number in range(OPTIONS))
    spec = SocketSpec("x" * NAME_BYTES, socket.AF_INET, socket.SOCK_STREAM, options=options)
    return encoded(OpenRequest(1, (spec,)))


def attack(target: Target, number: int, orders: Orders) -> None:
    packet = refused()
    orders.is_ready(number)
    with Stubborn(target.path) as client:
        while orders.goes_on():
            if isinstance(client.ask(packet), ErrorReply):
                orders.has_done(number)


LONG_RECORDS = Attack(
    "long records",
    __doc__ or "",
    attack,
    1,
    "refused requests",
    most_written_kib=(RECORDED_REFUSALS + 1) * LONGEST_RECORD_BYTES // 1024,
)
