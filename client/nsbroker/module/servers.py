"""`create_servers`: listeners in many namespaces by one call."""

from __future__ import annotations

import socket

from ..drivers.client import Client, shared_client
from ..link.retry import DEFAULT_TIMEOUT_S
from ..place.listening import listener_spec
from ..wire.messages import NamespaceRef

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def create_servers(
    listeners: Iterable[tuple[NamespaceRef, tuple[str, int] | tuple[str, int, int, int]]],
    *,
    family: int | None = None,
    backlog: int | None = None,
    reuse_port: bool = False,
    client: Client | None = None,
) -> list[socket.socket]:
    """Open TCP listeners, all or none: `create_servers([("blue", ("", 80)), ("@host", ("::", 8080))])`.

    They are bound by the broker, so ports below 1024 work where the policy allows them, and have the options that
    `socket.create_server` sets: SO_REUSEADDR, and IPV6_V6ONLY for IPv6.

    Args:
        listeners: (namespace, address) pairs; the namespace as for `Namespace`.
        family: AF_INET or AF_INET6 for all; else what each address looks like.
        backlog: as for `socket.listen`.
        reuse_port: set SO_REUSEPORT: then the same user can have several for one port.
        client: the client to ask by; else the one for $NSBROKER_SOCKET or the default path.

    Raises:
        OSError: as `Client.open`; `index` says for which pair.
        socket.gaierror: a host is a name.
    """
    specs = [
        listener_spec(namespace, address, family, backlog, reuse_port=reuse_port) for namespace, address in listeners
    ]
    return (client or shared_client(None, DEFAULT_TIMEOUT_S)).open(specs)
