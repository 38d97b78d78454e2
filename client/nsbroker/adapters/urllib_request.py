"""`urllib.request` in a namespace.

    opener = build_opener("blue")
    opener.open("https://www.example.org/", timeout=5)

The proxies of the environment are not used: they are the own namespace's. `ftp:` and `file:` are unknown to the
opener, also when a server redirects there, since urllib's handlers for them look names up in the own namespace.
"""

from __future__ import annotations

import urllib.request
from functools import partial
from typing import TYPE_CHECKING

from . import http_client
from ._namespace import as_namespace

if TYPE_CHECKING:
    import ssl
    from http.client import HTTPResponse

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


class HTTPHandler(urllib.request.HTTPHandler):
    """Opens `http:` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, debuglevel: int = 0) -> None:
        super().__init__(debuglevel)
        self._namespace = as_namespace(namespace)

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a connection of its own for a request."""
        return self.do_open(partial(http_client.HTTPConnection, self._namespace), req)


class HTTPSHandler(urllib.request.HTTPSHandler):
    """Opens `https:` in a namespace."""

    def __init__(
        self, namespace: Namespace | NamespaceRef, debuglevel: int = 0, context: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(debuglevel, context)
        self._namespace = as_namespace(namespace)
        self._given_context = context

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a connection of its own for a request."""
        return self.do_open(partial(http_client.HTTPSConnection, self._namespace), req, context=self._given_context)


def build_opener(
    namespace: Namespace | NamespaceRef,
    *handlers: urllib.request.BaseHandler,
    context: ssl.SSLContext | None = None,
) -> urllib.request.OpenerDirector:
    """Make an opener as `urllib.request.build_opener` does, for `http:`, `https:` and `data:` alone.

    Args:
        namespace: where it connects, and where names are looked up.
        handlers: more handlers, such as HTTPCookieProcessor; a ProxyHandler's proxies are reached in the namespace.
        context: for `https:`; else the default one.
    """
    namespace = as_namespace(namespace)
    opener = urllib.request.OpenerDirector()
    for handler in (
        HTTPHandler(namespace),
        HTTPSHandler(namespace, context=context),
        urllib.request.DataHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
        *handlers,
    ):
        opener.add_handler(handler)
    return opener
