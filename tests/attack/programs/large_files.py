"""Read the largest files for host names, in a loop, or hold the answers.

The broker reads the files of a namespace and hands out their text in shared memory. Reading two megabytes took the
broker's only thread 1.5 milliseconds. An answer that its client keeps was counted for no user, so 600 of them were more
than a gigabyte. Now the broker reads large files in pieces, and answers in memory count for their user.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from nsbroker.wire import BlobReply, ResolverRequest
from nsbrokerd.requests.answers import MAX_HELD_FOR_PERSON_BYTES
from support.names.etc_netns import make_files, remove_files

from ..attack import Attack, Orders, Target
from .asking import Stubborn, encoded

FILE_BYTES = 2**20
"""The most that the broker reads of a file."""

FILES = ("resolv.conf", "hosts")
MOST_HELD, MOST_HELD_BRIEFLY = 600, 150
MOST_HELD_MB = MAX_HELD_FOR_PERSON_BYTES // 2**20

_PAUSE_S = 0.02


@contextmanager
def files(target: Target) -> Iterator[None]:
    """Give the namespace files of the greatest size. An administrator may have made them so, for example with hosts."""
    directory = make_files(target.namespace)
    try:
        for name in FILES:
            (directory / name).write_text("# a line\n" * (FILE_BYTES // 9))
        yield
    finally:
        remove_files(target.namespace)


def read(target: Target, number: int, orders: Orders) -> None:
    packet = encoded(ResolverRequest(1, target.namespace))
    orders.is_ready(number)
    with Stubborn(target.path) as client:
        while orders.goes_on():
            if isinstance(client.ask(packet), BlobReply):
                orders.has_done(number)


def hold(target: Target, number: int, orders: Orders) -> None:
    packet = encoded(ResolverRequest(1, target.namespace))
    most = MOST_HELD_BRIEFLY if target.is_brief else MOST_HELD
    sizes: dict[int, int] = {}
    with Stubborn(target.path) as client:
        for _ in range(most):
            if not orders.goes_on():
                break
            if isinstance(client.ask(packet, keep=True), BlobReply):
                status = os.fstat(client.fds[-1])
                sizes[status.st_ino] = status.st_blocks * 512
                orders.holds(number, sum(sizes.values()) // 2**20)
            orders.has_done(number)
        orders.is_ready(number)
        while orders.goes_on():
            client.ask(packet)
            orders.has_done(number)
            time.sleep(_PAUSE_S)


READ_LARGE_FILES = Attack("large files", __doc__ or "", read, 1, "answers of 2 MB", prepare=files)
HELD_ANSWERS = Attack(
    "answers that are held", __doc__ or "", hold, 1, "requests", "MB of answers", MOST_HELD_MB, prepare=files
)
