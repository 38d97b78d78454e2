"""For the adapters of event loops: the `Place` of a namespace, and a socket that gets a new owner."""

from __future__ import annotations

from ..names import resolver  # noqa: F401  # An event loop must not wait 50 ms for these two at the first look-up.
from ..names.dns import search  # noqa: F401
from ..place.place import Place
from ._namespace import NamespaceLike, as_namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable
    from typing import TypeVar

    T = TypeVar("T")


def place_of(namespace: NamespaceLike) -> Place:
    """Return the place of a namespace. It uses the namespace's own client."""
    return as_namespace(namespace)._place


def idna_2008(host: str | bytes | None) -> str | bytes | None:
    """Encode a name that is not ASCII as trio and anyio do. The socket module does so by IDNA 2003.

    Raises:
        UnicodeError: IDNA 2008 does not allow the name.
    """
    if not isinstance(host, str) or host.isascii():
        return host
    import idna  # trio and anyio need it as well.

    return idna.encode(host, uts46=True)


async def hand_over(sock: socket.socket, made: Awaitable[T]) -> T:
    """Wait for the new owner of a socket. If that fails, close the socket."""
    try:
        return await made
    except BaseException:
        sock.close()
        raise
