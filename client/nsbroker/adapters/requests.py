"""requests in a namespace."""

from __future__ import annotations

from typing import Any

import requests
import requests.adapters
import requests.exceptions

from . import urllib3
from ._namespace import InNamespace, NamespaceLike, as_namespace, require

require(requests.adapters.HTTPAdapter, "init_poolmanager", "proxy_manager_for")


class HTTPAdapter(InNamespace, requests.adapters.HTTPAdapter):
    """`requests.adapters.HTTPAdapter` in a namespace, for a session of your own. It also reaches proxies there.

    Mount it for both schemes, since a redirect can lead from one to the other.

    Args:
        namespace: the namespace of the connections and of the look-ups.
        args: as for `requests.adapters.HTTPAdapter`.
        kwargs: the same by name.

    Example:
        >>> with requests.Session() as session:
        ...     session.trust_env = False  # The environment's proxies are not those of the namespace.
        ...     session.mount("http://", HTTPAdapter("blue"))
        ...     session.mount("https://", HTTPAdapter("blue"))
        ...     response = session.get("http://www.example.org/", timeout=5)
        >>> response.status_code
        200
    """

    __attrs__ = (*requests.adapters.HTTPAdapter.__attrs__, "_namespace")
    """The attributes that requests pickles and copies."""

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools. requests calls this."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = urllib3.pool_classes(self._namespace)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Return the pools for a proxy. requests calls this.

        Raises:
            requests.exceptions.InvalidSchema: it is a SOCKS proxy, which PySocks would reach by its own sockets.
        """
        if proxy.lower().startswith("socks"):
            text = f"a SOCKS proxy can't be used in a namespace, since PySocks makes its own sockets: {proxy}"
            raise requests.exceptions.InvalidSchema(f"{text}; use an HTTP proxy")
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
        return manager


class Session(requests.Session):
    """`requests.Session` in a namespace.

    `trust_env` is off, since the proxies of the environment belong to the program's own namespace. If you set it, for
    example for `~/.netrc` or REQUESTS_CA_BUNDLE, these proxies are reached in the namespace.

    Args:
        namespace: the namespace of the connections and of the look-ups.

    Example:
        >>> with Session("blue") as session:
        ...     response = session.get("http://www.example.org/", timeout=5)
        >>> response.status_code
        200
    """

    def __init__(self, namespace: NamespaceLike) -> None:
        super().__init__()
        self.trust_env = False
        namespace = as_namespace(namespace)
        for prefix in ("http://", "https://"):
            self.mount(prefix, HTTPAdapter(namespace))
