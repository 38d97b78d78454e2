"""The one audit hook of this package. Python offers no way to remove one, so it stays, and calls the guards in force.

Source: the table of audit events in the documentation of Python.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Handlers: TypeAlias = Mapping[str, Callable[..., None]]

CFFI_DLOPEN = "nsbroker.cffi.dlopen"
"""The event that this module raises when cffi opens a library. cffi itself has none."""

_handlers: dict[str, tuple[Callable[..., None], ...]] = {}
_installed: list[Callable[..., None]] = []


def _hook(event: str, args: tuple[Any, ...], handlers: dict[str, tuple[Callable[..., None], ...]] = _handlers) -> None:
    for handle in handlers.get(event, ()):
        handle(*args)


def watch(handlers: Handlers) -> None:
    """Call a function at each event of its name, with the event's arguments. Its exception refuses the event."""
    for event, handle in handlers.items():
        _handlers[event] = (*_handlers.get(event, ()), handle)
    if not _installed:
        _installed.append(_hook)
        sys.addaudithook(_hook)
        _give_cffi_an_event()


def unwatch(handlers: Handlers) -> None:
    """End what `watch` began."""
    for event, handle in handlers.items():
        left = tuple(other for other in _handlers.get(event, ()) if other != handle)
        if left:
            _handlers[event] = left
        else:
            _handlers.pop(event, None)


def _give_cffi_an_event() -> None:
    """Let every later `ffi.dlopen` raise an event with the library's name. It stays, like the hook."""
    try:
        import _cffi_backend
    except ImportError:
        return
    load_library = _cffi_backend.load_library

    class FFI(_cffi_backend.FFI):  # type: ignore[misc]  # cffi has no types
        def dlopen(self, name: Any, flags: int = 0) -> Any:
            sys.audit(CFFI_DLOPEN, name)
            return super().dlopen(name, flags)

    def load(name: Any, flags: int = 0) -> Any:
        sys.audit(CFFI_DLOPEN, name)
        return load_library(name, flags)

    _cffi_backend.FFI, _cffi_backend.load_library = FFI, load
