"""requests in a namespace.

    with Session("blue") as session:
        session.get("http://www.example.org/")

`HTTPAdapter` is for sessions of your own: `session.mount("https://", HTTPAdapter("blue"))`, and the same for
"http://", since a redirect can lead there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import requests
import requests.adapters
import requests.exceptions

from . import urllib3
from ._hooks import require
from ._namespace import as_namespace

if TYPE_CHECKING:
    from typing import Any

    from ..module.namespace import Namespace
    from ..wire.messages import NamespaceRef

require(requests.adapters.HTTPAdapter, "init_poolmanager", "proxy_manager_for")


class HTTPAdapter(requests.adapters.HTTPAdapter):
    """`requests.adapters.HTTPAdapter` in a namespace. It reaches proxies in the namespace, too."""

    def __init__(self, namespace: Namespace | NamespaceRef, *args: Any, **kwargs: Any) -> None:
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Make the pools; requests calls this."""
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = urllib3.pool_classes(self._namespace)

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """Give the pools for a proxy; requests calls this.

        Raises:
            requests.exceptions.InvalidSchema: it is a SOCKS proxy, which would be reached by PySocks' own sockets.
        """
        if proxy.lower().startswith("socks"):
            raise requests.exceptions.InvalidSchema(f"no SOCKS proxies in a namespace: {proxy}")
        manager = super().proxy_manager_for(proxy, **proxy_kwargs)
        manager.pool_classes_by_scheme = self.poolmanager.pool_classes_by_scheme
        return manager


class Session(requests.Session):
    """`requests.Session` in a namespace.

    `trust_env` is off, since the environment's proxies are the own namespace's. Who sets it, for `~/.netrc` or
    REQUESTS_CA_BUNDLE, has those proxies reached in the namespace.
    """

    def __init__(self, namespace: Namespace | NamespaceRef) -> None:
        super().__init__()
        self.trust_env = False
        namespace = as_namespace(namespace)
        for prefix in ("http://", "https://"):
            self.mount(prefix, HTTPAdapter(namespace))
