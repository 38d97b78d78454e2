"""Waits until a namespace exists, by opening a socket there and closing it at once.

The broker waits for a namespace only in a request for a socket. It refuses a socket that no grant covers before it
waits.
"""

from __future__ import annotations

import socket

from ..drivers.thread import Client
from ..link.errors import AccessDeniedError, Error
from ..wire.messages import NamespaceRef, SocketSpec

_INET, _PACKET, _NETLINK = int(socket.AF_INET), int(socket.AF_PACKET), int(socket.AF_NETLINK)
_STREAM, _DGRAM, _RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
_ICMP = 1

_TRIED = ((_INET, _STREAM, 0), (_INET, _DGRAM, 0), (_INET, _DGRAM, _ICMP), (_NETLINK, _RAW, 0), (_PACKET, _RAW, 0))
"""Sockets that grants cover, as (family, type, protocol). Any of them will do, so the most common one comes first."""


def expect_namespace(client: Client, namespace: NamespaceRef, wait_s: float) -> None:
    """Return as soon as the namespace exists.

    Raises:
        NamespaceNotFoundError: it does not exist after `wait_s` seconds, or is not a network namespace.
        AccessDeniedError: no grant covers any of these sockets. The message is about the first one.
        BrokerUnavailableError: the broker can't be reached or does not answer.
    """
    refusal: AccessDeniedError | None = None
    for triple in _TRIED:
        try:
            (sock,) = client.open([SocketSpec(namespace, *triple)], wait_s)
        except AccessDeniedError as error:
            refusal = refusal or error
            continue
        except OSError as error:
            if getattr(error, "index", None) is None or isinstance(error, Error):
                raise
            return  # The kernel refused this socket inside the namespace, so the namespace exists.
        sock.close()
        return
    if refusal:
        raise refusal
