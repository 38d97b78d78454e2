"""Refuses code that a patched `socket` module can't cover: libraries that connect in C, and modules loaded before."""

from __future__ import annotations

import sys
import sysconfig
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path

from .elf import imported_symbols

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import ModuleType

CONNECT_IN_C = {
    "MySQLdb": "libmysqlclient",
    "_mysql_connector": "libmysqlclient",
    "confluent_kafka": "librdkafka",
    "curl_cffi": "libcurl",
    "gevent": "its own event loop",
    "granian": "Rust",
    "grpc": "gRPC's core",
    "psycopg2": "libpq",
    "psycopg_binary": "libpq",
    "psycopg_c": "libpq",
    "pycares": "c-ares",
    "pycurl": "libcurl",
    "pymssql": "FreeTDS",
    "pynng": "nng",
    "pyodbc": "an ODBC driver",
    "uvloop": "libuv",
    "zmq": "libzmq",
}
"""Packages that connect or look up names without the socket module, and the library by which they do so."""

CONNECT_BY_CTYPES = {"psycopg.pq.pq_ctypes": "libpq"}

_SYMBOLS = {b"connect", b"getaddrinfo", b"gethostbyname", b"gethostbyname_r", b"res_query", b"res_search", b"sendto"}
"""An extension module that imports one of these functions uses the network by itself."""

_HARMLESS = frozenset({"cryptography"})
"""Packages that import these functions but make no connection. cryptography contains OpenSSL, and uses its ciphers."""

_STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib")).resolve()


class PatchError(ImportError):
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


def refuse_loaded(originals: Iterable[object]) -> None:
    """Refuse if a module that a patch can't cover is loaded already.

    Args:
        originals: the objects that the patch will replace. A module that did `from socket import` keeps them.

    Raises:
        PatchError: a module is loaded that the patch can't cover.
    """
    taken = {id(original) for original in originals}
    for name, module in list(sys.modules.items()):
        refuse_package(name)
        spec = getattr(module, "__spec__", None)
        if isinstance(spec, ModuleSpec) and isinstance(spec.loader, ExtensionFileLoader):
            _refuse_extension(name, spec)
        if not _is_ours(name) and _has_taken(module, taken):
            raise PatchError(
                f"{name} was imported before nsbroker.patch, and keeps the unpatched sockets: call nsbroker.patch first"
            )


def _library(name: str) -> str:
    return name.partition(".")[0]


def _is_ours(name: str) -> bool:
    return _library(name) in ("socket", "_socket", "ssl", "nsbroker")


def _has_taken(module: ModuleType, taken: set[int]) -> bool:
    return any(id(value) in taken for value in list(getattr(module, "__dict__", {}).values()))


def refuse_package(name: str) -> None:
    """Refuse a module of a library in `CONNECT_IN_C` or `CONNECT_BY_CTYPES`.

    Raises:
        PatchError: the module belongs to one of these libraries.
    """
    library = _library(name)
    by = CONNECT_IN_C.get(library) or CONNECT_BY_CTYPES.get(name)
    if by is not None:
        advice = "use nsbroker.adapters.asyncio.loop_factory" if library == "uvloop" else "use `nsbroker-get NS run`"
        raise PatchError(f"{library} connects by {by}, which nsbroker.patch can't reach: {advice} instead", name=name)


def _refuse_extension(name: str, spec: ModuleSpec) -> None:
    path = Path(spec.origin or "").resolve()
    is_standard = _STANDARD_LIBRARY in path.parents and "site-packages" not in path.parts
    if is_standard or _library(name) in _HARMLESS:
        return
    try:
        called = _SYMBOLS & imported_symbols(path.read_bytes())
    except (OSError, ValueError) as error:
        raise PatchError(
            f"can't tell whether {name} connects in C, since {path} is not readable: {error}", name=name
        ) from error
    if called:
        text = f"{name} calls {min(called).decode()} in C, which nsbroker.patch can't reach"
        raise PatchError(f"{text}: use `nsbroker-get NS run` instead", name=name)


class Guard:
    """The first finder of `sys.meta_path`. It refuses later imports of modules that a patch can't cover."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Check the module that the other finders will find, and leave it to them."""
        refuse_package(name)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, ExtensionFileLoader):
            _refuse_extension(name, spec)
        return None
