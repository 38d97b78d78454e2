"""Refuses code that a patched `socket` module can't cover: sockets and look-ups in C, and modules loaded before."""

from __future__ import annotations

import errno
import socket
import sys
from importlib import import_module

from ..drivers.thread import run
from ..guards.libraries import BypassError, calling_library, calls_for, calls_itself, package_of
from ..guards.look_ups import LookUpGuard
from ..link.errors import WrongNamespaceError
from ..link.identity import LOCAL_FAMILIES
from ..names.numeric import numeric_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType
    from typing import Any, NoReturn

    from ..guards.audit import Handlers
    from ..place.place import Place
    from .files import NamespaceFiles

_SOCKET_INIT = socket.socket.__init__.__code__


class PatchError(BypassError):
    """A library that would leave the namespace is loaded, or a program tries to load it. The message names it.

    Example:
        >>> try:
        ...     with nsbroker.patch("blue"):
        ...         import pycurl
        ... except nsbroker.PatchError as error:
        ...     refused = error.name
        >>> refused
        'pycurl'
    """


class PatchGuard(LookUpGuard):
    """Refuses all code of the process that makes sockets or look-ups by another way than the patched socket module.

    Args:
        place: the namespace.
        files: the `open` of the patch, which may read the resolver's files.
        allow: packages to let through, by their names.
    """

    def __init__(self, place: Place, files: NamespaceFiles, allow: Iterable[str] = ()) -> None:
        self._place = place
        self._files = files
        super().__init__("nsbroker.patch", "nsbroker.patch", allow, PatchError)

    def handlers(self) -> Handlers:
        """Return the functions for audit events."""
        return {
            **super().handlers(),
            "socket.__new__": self._on_socket,
        }

    def applies(self) -> bool:
        """Return whether this thread does not open a file for the patch right now."""
        return not self._files.is_opening

    def numeric(self, sock: socket.socket, address: Any) -> Any:
        """Return the address with a name looked up in the namespace."""
        return numeric_address(sock, address, lambda host, family: run(self._place.look_up(host, family)))

    def refuse_taken(self, originals: Iterable[object]) -> None:
        """Refuse if a module has taken one of the objects that the patch replaces: it did `from socket import`.

        Raises:
            PatchError: there is one.
        """
        taken = {id(original) for original in originals}
        for name, module in list(sys.modules.items()):
            if not _is_ours(name) and _has_taken(module, taken) and package_of(name) not in self.allow:
                text = f"{name} was imported before nsbroker.patch, and keeps the unpatched sockets: "
                raise PatchError(f"{text}call nsbroker.patch first", name=name)

    def _on_socket(self, sock: object, family: int, *_: object) -> None:
        """Refuse a new socket of the socket module's own classes. The patched class only wraps the broker's sockets."""
        if family in LOCAL_FAMILIES:
            return
        frame = sys._getframe(2)  # Beyond this function and the audit hook.
        if frame.f_code is _SOCKET_INIT:
            if frame.f_locals["fileno"] is not None:
                return
        elif calls_itself(2):
            return
        if not calls_for(self.allow):
            library = calling_library()
            made = f"{type(sock).__module__}.{type(sock).__qualname__}"
            text = self.text(library, f"{library} makes a socket by {made}")
            raise WrongNamespaceError(errno.EXDEV, text)

    def refuse_interpreter(self, *_: object, **__: object) -> NoReturn:
        """Refuse another interpreter, since it has a socket module of its own. This replaces the function for it."""
        library = calling_library()
        raise PatchError(self.text(library, f"{library} starts another interpreter"), name=library)


def interpreters() -> ModuleType | None:
    """Return the module that starts interpreters, or `None` if this Python has none."""
    for name in ("_interpreters", "_xxsubinterpreters"):  # The first since Python 3.13.
        try:
            return import_module(name)
        except ImportError:
            continue
    return None


def _is_ours(name: str) -> bool:
    return package_of(name) in ("socket", "_socket", "ssl", "nsbroker")


def _has_taken(module: ModuleType, taken: set[int]) -> bool:
    return any(id(value) in taken for value in list(getattr(module, "__dict__", {}).values()))
