"""Keeps an adapter in its namespace: takes the namespace as the first argument, and checks the library's hooks."""

from __future__ import annotations

from typing import Any

from ..module.namespace import Namespace
from ..wire.messages import NamespaceRef

NamespaceLike = Namespace | NamespaceRef
"""A namespace, or its name, path or descriptor."""


def as_namespace(namespace: NamespaceLike) -> Namespace:
    """Return the namespace itself, or the one of this name, path or descriptor."""
    return namespace if isinstance(namespace, Namespace) else Namespace(namespace)


class InNamespace:
    """A base class that takes the namespace, and passes the other arguments on to the class of the library."""

    _namespace: Namespace

    def __init__(self, namespace: NamespaceLike, *args: Any, **kwargs: Any) -> None:
        # First, since some libraries connect in their constructor.
        self._namespace = as_namespace(namespace)
        super().__init__(*args, **kwargs)


def require(owner: object, *names: str) -> None:
    """Refuse a version of a library that lacks a hook, which an adapter overrides although the library may drop it.

    Args:
        owner: the class or object with the hooks.
        names: the names of the hooks.

    Raises:
        ImportError: a hook is missing. Without it, sockets would silently be in the caller's own namespace.
    """
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        owner_class = owner if isinstance(owner, type) else type(owner)
        text = f"this version of {owner_class.__module__.partition('.')[0]} has no {owner_class.__qualname__}"
        raise ImportError(f"{text}.{missing[0]}: its sockets can't be kept in a namespace; install another version")
