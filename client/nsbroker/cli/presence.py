"""Whether a namespace is there, and anything is granted in it: found out by a socket that is closed at once.

The broker waits for a namespace with the request for a socket alone, and refuses what is not granted before it waits.
"""

from __future__ import annotations

import socket

from ..drivers.client import Client
from ..link.errors import AccessDeniedError, Error
from ..wire.messages import NamespaceRef, SocketSpec

_INET, _PACKET, _NETLINK = int(socket.AF_INET), int(socket.AF_PACKET), int(socket.AF_NETLINK)
_STREAM, _DGRAM, _RAW = int(socket.SOCK_STREAM), int(socket.SOCK_DGRAM), int(socket.SOCK_RAW)
_ICMP = 1

_TRIED = ((_INET, _STREAM, 0), (_INET, _DGRAM, 0), (_INET, _DGRAM, _ICMP), (_NETLINK, _RAW, 0), (_PACKET, _RAW, 0))
"""Family, type, protocol: what grants have. Any of them will do, and the most common one is the first."""


def expect_namespace(client: Client, namespace: NamespaceRef, wait_s: float) -> None:
    """Return as soon as the namespace is there; at once if it is.

    Raises:
        NamespaceNotFoundError: it is not there after `wait_s`, or it is none.
        AccessDeniedError: none of these sockets is granted; what it says is about the first.
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
            return  # The kernel refuses this one, in the namespace.
        sock.close()
        return
    if refusal:
        raise refusal
