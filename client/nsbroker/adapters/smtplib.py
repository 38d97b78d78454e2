"""smtplib in a namespace.

    with SMTP("blue", "mail.example.org", 25) as server:
        server.send_message(message)

The name that the client gives for itself is `local_hostname`, else its address in the namespace: smtplib would look
up the name of this host, in the own namespace.
"""

from __future__ import annotations

import smtplib
import socket
from typing import TYPE_CHECKING

from ._connect import connect
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(smtplib.SMTP, "_get_socket")
require(smtplib.SMTP_SSL, "_get_socket")


class _Inside(smtplib.SMTP):
    """What both classes have: where their socket is made, and what they call themselves."""

    _namespace: Namespace
    _own_name: str

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        if timeout is not None and not timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        return connect(self._namespace, host, port, timeout, source_address=self.source_address)

    @property
    def local_hostname(self) -> str:
        """The client's name: what was given, else its address. Source: RFC 5321, section 4.1.3."""
        if self._own_name or self.sock is None:
            return self._own_name
        address = self.sock.getsockname()[0].partition("%")[0]
        return f"[IPv6:{address}]" if self.sock.family == socket.AF_INET6 else f"[{address}]"

    @local_hostname.setter
    def local_hostname(self, name: str) -> None:
        self._own_name = name


class SMTP(_Inside):
    """`smtplib.SMTP(host, port, local_hostname, timeout, source_address)` in a namespace."""

    def __init__(
        self,
        namespace: Namespace | NamespaceRef,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(host, port, local_hostname or "", *args, **kwargs)


class SMTP_SSL(smtplib.SMTP_SSL, _Inside):  # noqa: N801  # smtplib's own name
    """`smtplib.SMTP_SSL(host, port, local_hostname, ..., timeout, source_address, context)` in a namespace."""

    def __init__(
        self,
        namespace: Namespace | NamespaceRef,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(host, port, local_hostname or "", *args, **kwargs)
