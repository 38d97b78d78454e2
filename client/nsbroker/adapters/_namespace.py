"""Which namespace an adapter is for."""

from __future__ import annotations

from ..module.namespace import Namespace
from ..wire.messages import NamespaceRef


def as_namespace(namespace: Namespace | NamespaceRef) -> Namespace:
    """Give the namespace itself, or the one of this name, path or descriptor."""
    return namespace if isinstance(namespace, Namespace) else Namespace(namespace)
