"""Connects for libraries that set options of a socket before it connects, and have their own timeouts."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from ..module.namespace import Namespace

PROGRAMS_DEFAULT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # typeshed leaves it out
"""The standard library's default for a timeout. It means `socket.getdefaulttimeout()`."""


def connect(
    namespace: Namespace,
    host: str | None,
    port: int | str,
    timeout: float | None = PROGRAMS_DEFAULT,
    *,
    source_address: Any = None,
    options: Iterable[tuple[Any, ...]] = (),
    family: int = 0,
) -> socket.socket:
    """Connect a TCP socket to the first address of a host that answers, as `socket.create_connection` does.

    Args:
        namespace: the namespace of the socket and of the look-up.
        host: a name or an address (`None`: the loopback address).
        port: a number, or the name of a service.
        timeout: seconds for each address (`None`: no limit).
        source_address: the address to bind to, if any.
        options: the arguments of `setsockopt` calls to make before the socket connects.
        family: the family of the addresses to try (0: all).

    Raises:
        socket.gaierror: the name has no address.
        OSError: as `Client.open` and connect(2), for the last address.
    """
    return namespace._connect((host, port), timeout, source_address, options, family)
