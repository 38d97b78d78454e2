"""httpx in a namespace.

    with httpx.Client(transport=HTTPTransport("blue")) as client:
        client.get("https://www.example.org/")

`AsyncHTTPTransport` is for `httpx.AsyncClient`, on asyncio and on trio. A client with a transport does not use the
environment's proxies, which would be the own namespace's; a `proxy` of the transport is reached in the namespace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from ._hooks import require
from ._namespace import as_namespace
from .httpcore import AsyncNetworkBackend, NetworkBackend

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef


def _set_backend(transport: httpx.HTTPTransport | httpx.AsyncHTTPTransport, backend: object) -> None:
    # httpx has no argument for it: https://github.com/encode/httpx/pull/3749
    require(transport, "_pool")
    require(transport._pool, "_network_backend")
    transport._pool._network_backend = backend  # type: ignore[assignment]  # of either kind, as the pool is


class HTTPTransport(httpx.HTTPTransport):
    """`httpx.HTTPTransport` in a namespace."""

    def __init__(self, namespace: Namespace | NamespaceRef, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _set_backend(self, NetworkBackend(as_namespace(namespace)))


class AsyncHTTPTransport(httpx.AsyncHTTPTransport):
    """`httpx.AsyncHTTPTransport` in a namespace, on asyncio and on trio."""

    def __init__(self, namespace: Namespace | NamespaceRef, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        _set_backend(self, AsyncNetworkBackend(as_namespace(namespace)))
