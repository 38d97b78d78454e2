"""imaplib in a namespace.

    with IMAP4_SSL("blue", "mail.example.org") as server:
        server.login(user, password)

`IMAP4` is the one without TLS.
"""

from __future__ import annotations

import imaplib
import sys
from typing import TYPE_CHECKING

from ._connect import PROGRAMS_DEFAULT, connect
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    import socket
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(imaplib.IMAP4, "_create_socket")
require(imaplib.IMAP4_SSL, "_create_socket")


def _open_socket(client: imaplib.IMAP4, namespace: Namespace, timeout: float | None) -> socket.socket:
    if timeout is not None and not timeout:
        raise ValueError("Non-blocking socket (timeout=0) is not supported")
    sys.audit("imaplib.open", client, client.host, client.port)
    # To imaplib None is no timeout of its own, and so the program's default.
    return connect(namespace, client.host or None, client.port, PROGRAMS_DEFAULT if timeout is None else timeout)


class IMAP4(imaplib.IMAP4):
    """`imaplib.IMAP4(host, port, timeout)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        return _open_socket(self, self._namespace, timeout)


class IMAP4_SSL(imaplib.IMAP4_SSL):  # noqa: N801  # imaplib's own name
    """`imaplib.IMAP4_SSL(host, port, ..., ssl_context, timeout)` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)

    def _create_socket(self, timeout: float | None) -> socket.socket:
        sock = _open_socket(self, self._namespace, timeout)
        wrapped: socket.socket = self.ssl_context.wrap_socket(sock, server_hostname=self.host)
        return wrapped
