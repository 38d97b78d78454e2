"""`xmlrpc.client` in a namespace."""

from __future__ import annotations

import xmlrpc.client
from typing import Any

from . import http_client
from ._namespace import InNamespace


class Transport(InNamespace, xmlrpc.client.Transport):
    """`xmlrpc.client.Transport` in a namespace. It keeps one connection alive.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `xmlrpc.client.Transport`: use_datetime, use_builtin_types.
        kwargs: the same by name, and headers.

    Example:
        >>> server = xmlrpc.client.ServerProxy("http://www.example.org/", transport=Transport("blue"))
    """

    def make_connection(self, host: Any) -> http_client.HTTPConnection:
        """Return the connection to a host. It replaces a connection to another host. xmlrpc calls this."""
        kept_host, kept = self._connection
        if isinstance(kept, http_client.HTTPConnection) and kept_host == host:
            return kept
        plain_host, self._extra_headers, _ = self.get_host_info(host)
        connection = self._new_connection(plain_host)
        self._connection = host, connection
        return connection

    def _new_connection(self, host: str) -> http_client.HTTPConnection:
        return http_client.HTTPConnection(self._namespace, host)


class SafeTransport(Transport, xmlrpc.client.SafeTransport):  # type: ignore[misc]  # typeshed has another make_connection
    """`xmlrpc.client.SafeTransport`, for `https:`, in a namespace. It keeps one connection alive.

    Args:
        namespace: the namespace of the connection and of the look-up.
        args: as for `xmlrpc.client.SafeTransport`: use_datetime, use_builtin_types.
        kwargs: the same by name, and headers, context.

    Example:
        >>> server = xmlrpc.client.ServerProxy("https://www.example.org/", transport=SafeTransport("blue"))
    """

    context: Any

    def _new_connection(self, host: str) -> http_client.HTTPConnection:
        return http_client.HTTPSConnection(self._namespace, host, context=self.context)
