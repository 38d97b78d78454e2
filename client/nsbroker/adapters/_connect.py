"""Connecting for libraries that set options of a socket before it connects, and have timeouts of their own."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from ..module.namespace import Namespace
    from ..module.sockets import NamespaceSocket

PROGRAMS_DEFAULT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]  # typeshed leaves it out
"""What the standard library passes on for a timeout that was not given: `socket.getdefaulttimeout()`."""


def connect(
    namespace: Namespace,
    host: str | None,
    port: int | str,
    timeout: float | None = PROGRAMS_DEFAULT,
    *,
    source_address: Any = None,
    options: Iterable[tuple[Any, ...]] = (),
    family: int = 0,
) -> NamespaceSocket:
    """Connect a TCP socket to the first address of a host that answers, as `socket.create_connection` does.

    Args:
        namespace: where the socket is, and where the name is looked up.
        host: a name or an address; None is the loopback address.
        port: a number, or a service's name.
        timeout: seconds for each address.
        source_address: what to bind to, if anything.
        options: the arguments of `setsockopt` calls, done before it connects.
        family: which addresses to use; 0 for all.

    Raises:
        socket.gaierror: the name has no address.
        OSError: as `Client.open` and connect(2), for the last address.
    """
    errors: list[OSError] = []
    for found, kind, proto, _, address in namespace._stream_addresses(host, port, family):
        try:
            sock = namespace.socket(found, kind, proto)
            try:
                return _prepare(sock, timeout, source_address, options, address)
            except BaseException:
                sock.close()
                raise
        except OSError as error:
            errors.append(error)
    try:
        raise errors[-1]
    finally:
        errors.clear()  # A traceback that holds its own exception would be a cycle.


def _prepare(
    sock: NamespaceSocket,
    timeout: float | None,
    source_address: Any,
    options: Iterable[tuple[Any, ...]],
    address: tuple[Any, ...],
) -> NamespaceSocket:
    for option in options:
        sock.setsockopt(*option)
    if timeout is not PROGRAMS_DEFAULT:
        sock.settimeout(timeout)
    if source_address:
        sock.bind(source_address)
    socket.SocketType.connect(sock, address)  # it was looked up already
    return sock
