"""httpx in a namespace.

A client with a transport ignores the proxies of the environment, which belong to the program's own namespace. A `proxy`
that you give to the transport is reached in the namespace.
"""

from __future__ import annotations

from typing import Any

import httpx

from ._namespace import NamespaceLike, as_namespace, require
from .httpcore import AsyncNetworkBackend, NetworkBackend


def _set_backend(transport: httpx.HTTPTransport | httpx.AsyncHTTPTransport, backend: object) -> None:
    # httpx has no argument for it: https://github.com/encode/httpx/pull/3749
    require(transport, "_pool")
    require(transport._pool, "_network_backend")
    transport._pool._network_backend = backend  # type: ignore[assignment]  # sync or async, as the pool


class HTTPTransport(httpx.HTTPTransport):
    """`httpx.HTTPTransport` in a namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `httpx.HTTPTransport`: verify, cert and others.
        kwargs: the same by name. The broker sets those of the `socket_options` that need its rights, such as SO_MARK.

    Example:
        >>> with httpx.Client(transport=HTTPTransport("blue")) as client:
        ...     response = client.get("https://www.example.org/", timeout=5)
        >>> response.status_code
        200
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_backend(self, NetworkBackend(as_namespace(namespace)))


class AsyncHTTPTransport(httpx.AsyncHTTPTransport):
    """`httpx.AsyncHTTPTransport` in a namespace, on asyncio and on trio.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `httpx.AsyncHTTPTransport`: verify, cert and others.
        kwargs: the same by name. The broker sets those of the `socket_options` that need its rights, such as SO_MARK.

    Example:
        >>> async with httpx.AsyncClient(transport=AsyncHTTPTransport("blue")) as client:
        ...     response = await client.get("https://www.example.org/", timeout=5)
        >>> response.status_code
        200
    """

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _set_backend(self, AsyncNetworkBackend(as_namespace(namespace)))
