"""Lets the children of `multiprocessing` that start in a fresh interpreter (spawn, forkserver) apply the patch first.

multiprocessing pickles a dictionary about the parent, and each child unpickles it before everything else, even before
it imports the main module. `InChildren` is a value in this dictionary whose unpickling is the patch.
"""

from __future__ import annotations

from multiprocessing import spawn
from multiprocessing.reduction import DupFd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from ..place.place import Place

_KEY = "nsbroker"


class InChildren:
    """The patch, for `pickle`.

    Args:
        place: the namespace of the patch.
        allow: the packages that the patch lets through.
        again: the function for the child. Its arguments are the namespace, where a descriptor is a `DupFd`, then
            `allow`, and the keyword arguments of `Namespace`.
    """

    def __init__(self, place: Place, allow: Iterable[str], again: Callable[..., object]) -> None:
        self._place = place
        self._allow = tuple(allow)
        self._again = again
        self._describe: Callable[[str], dict[str, Any]] = spawn.get_preparation_data

    def get_preparation_data(self, name: str) -> dict[str, Any]:
        """Return multiprocessing's data for a child, and the patch."""
        return {**self._describe(name), _KEY: self}

    def __reduce__(self) -> tuple[Any, ...]:
        place, broker = self._place, self._place._broker
        reference = DupFd(place.namespace) if isinstance(place.namespace, int) else place.namespace
        how = {
            "path": broker.path,
            "timeout": broker.timeout_s,
            "wait": place._wait_s,
            "mark": place.at_birth.mark,
            "transparent": place.at_birth.transparent,
            "freebind": place.at_birth.freebind,
            "stock": place.stock,
        }
        return self._again, (reference, self._allow, how)
