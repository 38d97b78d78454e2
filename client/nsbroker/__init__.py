"""Sockets in network namespaces, for programs without privileges.

    import nsbroker

    blue = nsbroker.Namespace("blue")
    with blue.create_connection(("10.0.0.1", 80)) as sock: ...

Nothing is loaded before it is used: whoever imports `nsbroker.wire` alone pays for that alone.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .drivers.client import Client
    from .link.errors import (
        AccessDeniedError,
        BrokerProtocolError,
        BrokerUnavailableError,
        Error,
        NamespaceNotFoundError,
        WrongNamespaceError,
    )
    from .module.namespace import Namespace
    from .module.servers import create_servers
    from .patching import PatchError, patch
    from .wire.messages import SocketSpec

__all__ = [
    "AccessDeniedError",
    "BrokerProtocolError",
    "BrokerUnavailableError",
    "Client",
    "Error",
    "Namespace",
    "NamespaceNotFoundError",
    "PatchError",
    "SocketSpec",
    "WrongNamespaceError",
    "create_servers",
    "patch",
]

_HOMES = {
    "Client": ".drivers.client",
    "Namespace": ".module.namespace",
    "SocketSpec": ".wire.messages",
    "PatchError": ".patching",
    "create_servers": ".module.servers",
    "patch": ".patching",
}


def __getattr__(name: str) -> object:
    """Load what `__all__` promises when it is first asked for (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, ".link.errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
