"""The `Place` of a namespace, for the adapters of event loops."""

from __future__ import annotations

from ..names import resolver  # noqa: F401  # An event loop must not wait 50 ms for these two at the first look-up.
from ..names.dns import search  # noqa: F401
from ..place.place import Place
from ._namespace import NamespaceLike, as_namespace


def place_of(namespace: NamespaceLike) -> Place:
    """Return the place of a namespace. It uses the namespace's own client."""
    return as_namespace(namespace)._place
