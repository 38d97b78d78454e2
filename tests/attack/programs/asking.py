"""A stubborn client: it connects again whenever the broker drops it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Self

from nsbroker.wire import Reply, Request, encode_request
from support.brokers.raw_client import RawClient

_PAUSE_S = 0.01


class Stubborn:
    """Asks on one connection, as long as the broker keeps it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._client: RawClient | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()

    def ask(self, packet: bytes | Request, fds: Sequence[int] = (), *, keep: bool = False) -> Reply | None:
        """Return the reply, or None if the broker dropped the connection.

        Args:
            packet: the request.
            fds: the descriptors that it brings.
            keep: whether the descriptors of the reply stay open in `fds`.
        """
        try:
            if self._client is None:
                self._client = RawClient(self._path)
            reply = self._client.ask(packet, fds)
        except (OSError, AssertionError):  # AssertionError: RawClient found less than a whole reply
            reply = None
        if reply is None:
            self._drop()
            time.sleep(_PAUSE_S)
        elif not keep and self._client is not None:
            self._client.close_fds()
        return reply

    @property
    def fds(self) -> list[int]:
        """The descriptors that stayed open."""
        return self._client.fds if self._client is not None else []

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def encoded(request: Request) -> bytes:
    """Encode a request once, so that the attack costs its attacker little."""
    return encode_request(request)
