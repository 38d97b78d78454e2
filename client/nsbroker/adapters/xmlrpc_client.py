"""`xmlrpc.client` in a namespace.

    server = xmlrpc.client.ServerProxy("http://www.example.org/", transport=Transport("blue"))

`SafeTransport` is the one for `https:`.
"""

from __future__ import annotations

import xmlrpc.client
from typing import TYPE_CHECKING

from . import http_client
from ._namespace import as_namespace

if TYPE_CHECKING:
    import ssl
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


class Transport(xmlrpc.client.Transport):
    """`xmlrpc.client.Transport` in a namespace: one connection, kept alive."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._namespace = as_namespace(namespace)

    def make_connection(self, host: Any) -> http_client.HTTPConnection:
        """Give the connection to a host; one to another host replaces it."""
        kept_host, kept = self._connection
        if isinstance(kept, http_client.HTTPConnection) and kept_host == host:
            return kept
        plain_host, self._extra_headers, _ = self.get_host_info(host)
        connection = http_client.HTTPConnection(self._namespace, plain_host)
        self._connection = host, connection
        return connection


class SafeTransport(xmlrpc.client.SafeTransport):
    """`xmlrpc.client.SafeTransport` in a namespace: one connection, kept alive."""

    def __init__(
        self, namespace: Namespace | NamespaceRef, *args: Any, context: ssl.SSLContext | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, context=context, **kwargs)
        self._namespace = as_namespace(namespace)
        self._context = context

    def make_connection(self, host: Any) -> http_client.HTTPSConnection:
        """Give the connection to a host; one to another host replaces it."""
        kept_host, kept = self._connection
        if isinstance(kept, http_client.HTTPSConnection) and kept_host == host:
            return kept
        plain_host, self._extra_headers, _ = self.get_host_info(host)
        connection = http_client.HTTPSConnection(self._namespace, plain_host, context=self._context)
        self._connection = host, connection
        return connection
