"""Listening by name, as steps: one socket for each address, bound and made to listen by the broker, all at once."""

from __future__ import annotations

import errno
import socket

from .connecting import STREAM
from .listening import DEFAULT_BACKLOG, server_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..link.waiting import Steps
    from ..wire.messages import SocketSpec
    from .place import Place

_MISSING_FAMILY = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


def listen_tcp(
    place: Place,
    hosts: str | Iterable[str | None] | None,
    port: int | str | None,
    *,
    family: int = 0,
    flags: int = socket.AI_PASSIVE,
    backlog: int | None = None,
    reuse_address: bool = True,
    reuse_port: bool = False,
) -> Steps[list[socket.socket]]:
    """Listen on every address of the hosts; the caller owns the sockets, which are plain and non-blocking.

    Args:
        place: where.
        hosts: names or addresses; None or "" for all addresses, of IPv4 and IPv6.
        port: a number, or a service's name.
        family: which addresses to use; 0 for all.
        flags: as for getaddrinfo.
        backlog: as for `socket.listen`.
        reuse_address: set SO_REUSEADDR.
        reuse_port: set SO_REUSEPORT.

    Raises:
        socket.gaierror: a name has no address.
        OSError: as `Client.open`. A family that the namespace lacks is no error as long as there is another address.
    """
    specs: dict[object, SocketSpec] = {}
    for host in [hosts] if hosts is None or isinstance(hosts, str) else hosts:
        for found, _, proto, _, address in (yield from place.getaddrinfo(host or None, port, family, STREAM, 0, flags)):
            options = server_options(found, reuse_port=reuse_port)[0 if reuse_address else 1 :]
            specs[address] = place.spec(found, STREAM, proto)._replace(
                bind=address, listen=DEFAULT_BACKLOG if backlog is None else backlog, options=options
            )
    return (yield from _open_those_there(place, list(specs.values())))


def _open_those_there(place: Place, specs: list[SocketSpec]) -> Steps[list[socket.socket]]:
    while True:
        try:
            return (yield from place.open(specs))
        except OSError as error:
            index = getattr(error, "index", None)
            if error.errno not in _MISSING_FAMILY or index is None or len(specs) == 1:
                raise
            del specs[index]
