"""Sockets in network namespaces, for programs without privileges.

Each name is loaded when you first use it, so a program that imports only `nsbroker.wire` loads no other module.

Example:
    >>> import nsbroker
    >>> blue = nsbroker.Namespace("blue")
    >>> with blue.create_connection(("www.example.org", 80)) as sock:
    ...     sock.getpeername()[1]
    80
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .drivers.thread import Client
    from .guards.libraries import BypassError
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
    "AccessDeniedError", "BrokerProtocolError", "BrokerUnavailableError", "BypassError", "Client", "Error",
    "Namespace", "NamespaceNotFoundError", "PatchError", "SocketSpec", "WrongNamespaceError", "create_servers",
    "patch",
]  # fmt: skip

_HOMES = {
    "BypassError": ".guards.libraries",
    "Client": ".drivers.thread",
    "Namespace": ".module.namespace",
    "SocketSpec": ".wire.messages",
    "PatchError": ".patching",
    "create_servers": ".module.servers",
    "patch": ".patching",
}


def __getattr__(name: str) -> object:
    """Load a name of `__all__` when it is first used (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, ".link.errors"), __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
