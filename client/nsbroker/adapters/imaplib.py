"""imaplib in a namespace."""

from __future__ import annotations

import imaplib
import socket
import sys

from ._connect import PROGRAMS_DEFAULT, connect
from ._namespace import InNamespace, require

require(imaplib.IMAP4, "_create_socket")
require(imaplib.IMAP4_SSL, "_create_socket")


class IMAP4(InNamespace, imaplib.IMAP4):
    """`imaplib.IMAP4` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `imaplib.IMAP4`: host, port, timeout (in seconds).
        kwargs: the same by name.

    Example:
        >>> with IMAP4("blue", "mail.example.org", timeout=5) as server:
        ...     status, _ = server.login(user, password)
        >>> status
        'OK'
    """

    def _create_socket(self, timeout: float | None) -> socket.socket:
        if timeout is not None and not timeout:
            raise ValueError("Non-blocking socket (timeout=0) is not supported")
        sys.audit("imaplib.open", self, self.host, self.port)
        # For imaplib, None is not "no limit", but the program's default.
        return connect(self._namespace, self.host or None, self.port, PROGRAMS_DEFAULT if timeout is None else timeout)


class IMAP4_SSL(IMAP4, imaplib.IMAP4_SSL):  # noqa: N801  # imaplib's own name
    """`imaplib.IMAP4_SSL` in a namespace.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `imaplib.IMAP4_SSL`: host, port and others.
        kwargs: the same by name, for example ssl_context, and timeout (in seconds).

    Example:
        >>> with IMAP4_SSL("blue", "mail.example.org", timeout=5) as server:
        ...     status, _ = server.login(user, password)
        >>> status
        'OK'
    """

    def _create_socket(self, timeout: float | None) -> socket.socket:
        wrapped: socket.socket = self.ssl_context.wrap_socket(
            super()._create_socket(timeout), server_hostname=self.host
        )
        return wrapped
