"""Hooks that a library does not promise: to override one that is gone would silently leave the namespace."""

from __future__ import annotations


def require(owner: object, *names: str) -> None:
    """Refuse to go on with a version of a library that lacks what an adapter overrides.

    Raises:
        ImportError: one of the names is missing. Without the hook, sockets would be the caller's own namespace's.
    """
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        kind = owner if isinstance(owner, type) else type(owner)
        text = f"this version of {kind.__module__.partition('.')[0]} has no {kind.__qualname__}.{missing[0]}"
        raise ImportError(f"{text}: its sockets can't be kept in a namespace")
