"""`Guard`: refuses libraries that use the network in C, whether they are loaded already or later, and by whatever way.

A library can be imported, loaded by ctypes, or loaded by cffi.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ExtensionFileLoader, ModuleSpec

from . import audit, shared_objects
from .libraries import (
    CONNECT_IN_C,
    THIS_PROGRAM,
    BypassError,
    calling_library,
    calls_for,
    calls_itself,
    package_of,
    way_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import ModuleType
    from typing import NoReturn

    from .audit import Handlers

_judged: set[str] = set()
"""The mapped objects that use no network by themselves. A file that is mapped does not change."""


class Guard:
    """Refuses libraries from `start` to `stop`.

    Args:
        subject: the noun for messages: the thing that a library would bypass.
        allowing: the call whose argument `allow` lets a library through, for messages.
        allow: packages and shared objects to let through, by their names.
        error: the class of the refusals.
        harmless: packages that do not bypass this subject, although they are in the table.
    """

    def __init__(
        self,
        subject: str,
        allowing: str,
        allow: Iterable[str] = (),
        error: type[BypassError] = BypassError,
        harmless: Iterable[str] = (),
    ) -> None:
        if isinstance(allow, str):
            raise TypeError(f"allow takes several names, not one string: allow=[{allow!r}]")
        self.subject = subject
        self.allow = frozenset(allow)
        self._allowing = allowing
        self._error = error
        self._loadable = self.allow.union(harmless)
        self._has_loaded_unknown = False

    def handlers(self) -> Handlers:
        """Return the functions for audit events. A subclass adds its own."""
        return {
            "import": self._on_import,
            "ctypes.dlopen": self._on_dlopen,
            audit.CFFI_DLOPEN: self._on_dlopen,
            "ctypes.dlsym": self._on_dlsym,
            "ctypes.dlsym/handle": self._on_dlsym,
        }

    def start(self) -> None:
        """Refuse libraries from here on."""
        sys.meta_path.insert(0, self)
        audit.watch(self.handlers())

    def stop(self) -> None:
        """End what `start` began."""
        if self.is_in_force:
            sys.meta_path.remove(self)
            audit.unwatch(self.handlers())

    @property
    def is_in_force(self) -> bool:
        """Whether the guard has started, and not ended."""
        return self in sys.meta_path

    def refuse_loaded(self) -> None:
        """Refuse if a library that uses the network in C is loaded already.

        Raises:
            BypassError: there is one.
        """
        modules = list(sys.modules.items())
        for name, _ in modules:
            self._refuse_module(name)
        for name, module in modules:
            spec = getattr(module, "__spec__", None)
            if isinstance(spec, ModuleSpec) and isinstance(spec.loader, ExtensionFileLoader):
                self._refuse_object(spec.origin or "", name)
        self._refuse_mapped()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Check the name of a module that gets imported, and leave the module to the other finders."""
        self._refuse_module(name)

    def _refuse_module(self, name: str) -> None:
        library = package_of(name)
        by = CONNECT_IN_C.get(library) or CONNECT_IN_C.get(name)
        if by is not None and library not in self._loadable:
            self._refuse(library, f"{library} connects by {by}")

    def _refuse_object(self, path: str, name: str = "", judge: Callable[[str], str | None] | None = None) -> None:
        if path in _judged or (path := os.path.realpath(path)) in _judged or self._allows(path, name):
            return
        library = package_of(name) if "." in name else shared_objects.package_of_path(path)
        try:
            called = (judge or shared_objects.network_function)(path)
        except (OSError, ValueError) as error:
            text = f"can't tell whether {name or library} uses the network in C, since {path} is not readable ({error})"
            self._refuse(library, text, error)
        if called:
            self._refuse(library, f"{name or path} calls {called} in C")
        _judged.add(path)

    def _allows(self, path: str, name: str = "") -> bool:
        return not self._loadable.isdisjoint({package_of(name), *shared_objects.names_in(path)})

    def _refuse_mapped(self) -> None:
        """Refuse if a shared object of any origin, for example one that ctypes loaded, uses the network."""
        mapped = shared_objects.mapped_objects()
        if mapped <= _judged:
            return
        _judged.update(shared_objects.with_needed(shared_objects.own_objects()))
        allowed = shared_objects.with_needed(path for path in mapped if self._allows(path))
        for path in mapped - allowed:
            self._refuse_object(path, judge=shared_objects.own_network_function)

    def _refuse(self, library: str, fact: str, cause: BaseException | None = None) -> NoReturn:
        raise self._error(self.text(library, fact), name=library) from cause

    def text(self, library: str, fact: str) -> str:
        """Return the text of a refusal: the fact, the cause, the remedy."""
        text = f"{fact}, which {self.subject} can't reach: {way_of(library)} instead"
        if library == THIS_PROGRAM:
            return text
        return f"{text}, or let it leave by {self._allowing}(..., allow=[{library!r}])"

    def _on_import(self, name: str, path: str | None, *_: object) -> None:
        # Only for an extension module, the event has a path. `find_spec` sees the names of all modules.
        if path is not None:
            self._refuse_object(path, name)

    def _on_dlopen(self, name: object) -> None:
        if not isinstance(name, str | bytes | os.PathLike):
            return  # The program itself, whose functions `_on_dlsym` sees, or a handle of cffi.
        found = shared_objects.find_object(os.fsdecode(name))
        self._has_loaded_unknown |= found is None
        if found is not None:
            self._refuse_object(found)

    def _on_dlsym(self, library: object, name: str | int) -> None:
        if self._has_loaded_unknown:  # The loader knows a place that `find_object` does not.
            self._has_loaded_unknown = False
            self._refuse_mapped()
        if calls_itself(2):  # Beyond this function and the audit hook.
            return
        loaded = getattr(library, "_name", None)
        is_of_c = loaded is None or os.path.basename(os.fsdecode(loaded)).startswith(shared_objects.C_LIBRARY)
        if is_of_c and str(name).encode() in shared_objects.OF_THE_C_LIBRARY and not calls_for(self.allow):
            caller = calling_library()
            self._refuse(caller, f"{caller} calls {name} by ctypes")
