"""TLS sockets of a namespace. `ssl.SSLSocket` would look up the name to connect to in the caller's own namespace."""

from __future__ import annotations

import ssl

from ..drivers.thread import run
from ..names.numeric import numeric_address
from ..place.place import Place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..names.numeric import Address


def ssl_socket_class(place: Place) -> type[ssl.SSLSocket]:
    """Make the class for `SSLContext.sslsocket_class` whose sockets look up names in a place."""

    class NamespaceSSLSocket(ssl.SSLSocket):
        def _numeric(self, address: Address) -> Any:
            return numeric_address(self, address, lambda host, family: run(place.look_up(host, family)))

        def connect(self, addr: Address) -> None:
            super().connect(self._numeric(addr))

        def connect_ex(self, addr: Address) -> int:
            return super().connect_ex(self._numeric(addr))

        def bind(self, address: Address, /) -> None:
            super().bind(self._numeric(address))

    return NamespaceSSLSocket
