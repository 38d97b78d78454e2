"""`create_servers`: listeners in many namespaces by one call."""

from __future__ import annotations

import socket

from ..drivers.thread import Client, shared_client
from ..link.broker import DEFAULT_TIMEOUT_S
from ..place.listening import listener_specs
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
    """Open TCP listeners in any number of namespaces, all or none.

    The broker binds them, so ports below 1024 work if a grant covers them. They have the options that
    `socket.create_server` sets: SO_REUSEADDR, and IPV6_V6ONLY for IPv6.

    Args:
        listeners: (namespace, address) pairs. The namespace is as for `Namespace`. The address is (host, port). The
            host may be a name, which is looked up in that namespace: its first address of the family counts. An IPv6
            address may name an interface ("fe80::1%eth0"). The host "" means every address of the family, and port 0
            means any free port.
        family: AF_INET or AF_INET6 for all. Default: AF_INET6 for an address that looks like it, otherwise AF_INET.
        backlog: as for `socket.listen`.
        reuse_port: set SO_REUSEPORT, so that you can have several listeners for one port.
        client: the `Client` to ask. Default: the one for $NSBROKER_SOCKET or the default path.

    Returns:
        The listening sockets in the same order. You own them.

    Raises:
        OSError: as `Client.open`. `index` is the index of the pair.
        socket.gaierror: a host is not found, or is an address of the other family.
        ValueError: an address does not have the shape of its family.

    Example:
        >>> import nsbroker
        >>> for server in nsbroker.create_servers([("blue", ("", 80)), ("@host", ("127.0.0.1", 0))]):
        ...     server.close()
    """
    specs = listener_specs(listeners, family, backlog, reuse_port=reuse_port)
    return (client or shared_client(None, DEFAULT_TIMEOUT_S)).open(specs)
