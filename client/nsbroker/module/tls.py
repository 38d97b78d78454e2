"""TLS sockets that look up names in a namespace: `SSLSocket.connect(("name", 443))` would ask the caller's own."""

from __future__ import annotations

import ssl

from ..names.numeric import numeric_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..names.numeric import Address, LookUp


def ssl_socket_class(look_up: LookUp) -> type[ssl.SSLSocket]:
    """Make the class for `SSLContext.sslsocket_class`: what it wraps stays in its namespace, and names are found there.

    Args:
        look_up: gives a numeric address for (host, family), or raises socket.gaierror.
    """

    class NamespaceSSLSocket(ssl.SSLSocket):
        def connect(self, addr: Address) -> None:
            super().connect(numeric_address(self, addr, look_up))

        def connect_ex(self, addr: Address) -> int:
            return super().connect_ex(numeric_address(self, addr, look_up))

        def bind(self, address: Address, /) -> None:
            super().bind(numeric_address(self, address, look_up))

    return NamespaceSSLSocket
