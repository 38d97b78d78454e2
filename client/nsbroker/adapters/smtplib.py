"""smtplib in a namespace.

The client introduces itself by `local_hostname` or, if you leave that out, by its address in the namespace. smtplib
itself would look up the name of this host in the program's own namespace.
"""

from __future__ import annotations

import smtplib
import socket
from typing import Any

from ..module.namespace import Namespace
from ._connect import connect
from ._namespace import InNamespace, NamespaceLike, require

require(smtplib.SMTP, "_get_socket")
require(smtplib.SMTP_SSL, "_get_socket")


class _Named(InNamespace):
    def __init__(
        self,
        namespace: NamespaceLike,
        host: str = "",
        port: int = 0,
        local_hostname: str | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        super().__init__(namespace, host, port, local_hostname or "", *args, **kwargs)


class _Inside(smtplib.SMTP):
    """Makes the socket of both classes, and names the client."""

    _namespace: Namespace
    _own_name: str

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        if timeout is not None and not timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        return connect(self._namespace, host, port, timeout, source_address=self.source_address)

    @property
    def local_hostname(self) -> str:
        """The client's name if you gave one, otherwise its address. Source: RFC 5321, section 4.1.3."""
        if self._own_name or self.sock is None:
            return self._own_name
        address, *_ = self.sock.getsockname()
        tag = "IPv6:" if self.sock.family == socket.AF_INET6 else ""
        return f"[{tag}{address.partition('%')[0]}]"

    @local_hostname.setter
    def local_hostname(self, name: str) -> None:
        self._own_name = name


class SMTP(_Named, _Inside):
    """`smtplib.SMTP` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        host: the server. Without one, call `connect` later.
        port: the server's port (0: 25).
        local_hostname: the client's name (`None`: its address).
        args: as for `smtplib.SMTP`: timeout (in seconds), source_address.
        kwargs: the same by name.

    Example:
        >>> with SMTP("blue", "mail.example.org", 25, timeout=5) as server:
        ...     refused = server.send_message(message)
        >>> refused
        {}
    """


class SMTP_SSL(_Named, smtplib.SMTP_SSL, _Inside):  # noqa: N801  # smtplib's own name
    """`smtplib.SMTP_SSL` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        host: the server. Without one, call `connect` later.
        port: the server's port (0: 465).
        local_hostname: the client's name (`None`: its address).
        args: as for `smtplib.SMTP_SSL`.
        kwargs: the same by name, for example timeout (in seconds), source_address, context.

    Example:
        >>> with SMTP_SSL("blue", "mail.example.org", timeout=5) as server:
        ...     refused = server.send_message(message)
        >>> refused
        {}
    """
