"""`urllib.request` in a namespace.

The opener ignores the proxies of the environment, since they belong to the program's own namespace. It does not know
`ftp:` and `file:`, even after a redirect, because urllib's handlers for them look up names in the program's namespace.
"""

from __future__ import annotations

import ssl
import urllib.request
from functools import partial
from http.client import HTTPResponse

from . import http_client
from ._namespace import InNamespace, NamespaceLike, as_namespace, require

require(urllib.request.HTTPSHandler(), "_context")


class HTTPHandler(InNamespace, urllib.request.HTTPHandler):
    """Opens `http:` in a namespace, as `urllib.request.HTTPHandler` does. `build_opener` adds it.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `urllib.request.HTTPHandler`: debuglevel.
        kwargs: the same by name.

    Example:
        >>> opener = urllib.request.OpenerDirector()
        >>> opener.add_handler(HTTPHandler("blue"))
        >>> opener.open("http://www.example.org/", timeout=5).status
        200
    """

    def http_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a new connection for a request."""
        return self.do_open(partial(http_client.HTTPConnection, self._namespace), req)


class HTTPSHandler(InNamespace, urllib.request.HTTPSHandler):
    """Opens `https:` in a namespace, as `urllib.request.HTTPSHandler` does. `build_opener` adds it.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        debuglevel: 1 prints the requests and replies.
        context: the context for TLS (`None`: the default one). To skip the check of the host's name, set it there.

    Example:
        >>> opener = urllib.request.OpenerDirector()
        >>> opener.add_handler(HTTPSHandler("blue"))
        >>> opener.open("https://www.example.org/", timeout=5).status
        200
    """

    _context: ssl.SSLContext | None

    def __init__(self, namespace: NamespaceLike, debuglevel: int = 0, context: ssl.SSLContext | None = None) -> None:
        # Without check_hostname, which Python 3.12 removed from the connections.
        super().__init__(namespace, debuglevel, context)

    def https_open(self, req: urllib.request.Request) -> HTTPResponse:
        """Open a new connection for a request."""
        return self.do_open(partial(http_client.HTTPSConnection, self._namespace), req, context=self._context)


def build_opener(
    namespace: NamespaceLike, *handlers: urllib.request.BaseHandler, context: ssl.SSLContext | None = None
) -> urllib.request.OpenerDirector:
    """Return an opener as `urllib.request.build_opener` does, for `http:`, `https:` and `data:` only.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        handlers: more handlers, for example HTTPCookieProcessor. The proxies of a ProxyHandler are reached in the
            namespace.
        context: the context for `https:` (`None`: the default one).

    Example:
        >>> opener = build_opener("blue")
        >>> opener.open("https://www.example.org/", timeout=5).status
        200
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
