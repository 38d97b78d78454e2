"""How the proxy asks the broker, and what it tells its client about a failure."""

from __future__ import annotations

import asyncio
import errno
import socket
from time import monotonic
from typing import Any

import pytest

from nsbroker.drivers.asyncio import run
from nsbroker.link.errors import AccessDeniedError, BrokerUnavailableError, NamespaceNotFoundError
from nsbroker.link.waiting import wait
from nsbroker.proxy.dialing import CalmPlace, failure


class FakeBroker:
    """Answers after a moment. `most` is the largest number of questions at once."""

    def __init__(self) -> None:
        self.now = self.most = self.served = 0

    async def _answer(self) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await wait(monotonic() + 0.001, ())
        finally:
            self.now -= 1
        self.served += 1

    async def open(self, *_: object) -> list[Any]:
        await self._answer()
        return []

    async def read_resolver_files(self, _: object) -> None:
        await self._answer()


def test_few_questions_to_the_broker_are_asked_at_once() -> None:
    """Each takes a connection, and the user's other programs need theirs."""
    broker = FakeBroker()
    place = CalmPlace(broker, "blue")  # type: ignore[arg-type]

    async def ask_all() -> None:
        opens = [run(place.open(lambda *_: None, (), wait_for_addresses=False)) for _ in range(100)]  # type: ignore[arg-type, return-value]
        await asyncio.gather(*opens, *(run(place.resolver_files()) for _ in range(100)))

    asyncio.run(ask_all())
    assert (broker.served, broker.now) == (200, 0)
    assert broker.most == 16


@pytest.mark.parametrize(
    ("error", "socks", "status"),
    [
        (ConnectionRefusedError(errno.ECONNREFUSED, ""), 5, 502),
        (OSError(errno.ENETUNREACH, ""), 3, 502),
        (OSError(errno.EHOSTUNREACH, ""), 4, 502),
        (TimeoutError(errno.ETIMEDOUT, ""), 4, 504),
        (PermissionError(errno.EPERM, ""), 2, 403),
        (OSError(errno.EADDRNOTAVAIL, ""), 1, 502),
        (socket.gaierror(socket.EAI_NONAME, ""), 4, 502),
        (AccessDeniedError(errno.EACCES, ""), 2, 403),
        (NamespaceNotFoundError(errno.ENOENT, ""), 1, 503),
        (BrokerUnavailableError(errno.ECONNREFUSED, ""), 1, 503),
        (BrokerUnavailableError(errno.ETIMEDOUT, ""), 1, 503),
    ],
)
def test_failure_has_its_code_in_both_protocols(error: OSError, socks: int, status: int) -> None:
    assert failure(error, "text") == (socks, status, "text")
    assert failure(ExceptionGroup("", [error]), "text") == (socks, status, "text")
