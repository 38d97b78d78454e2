"""Finds out whether a shared object uses the network: by the functions that it, or an object that it needs, imports.

Source: ld.so(8) for the places where the loader looks, and elf/dl-cache.h of glibc for its cache.
"""

from __future__ import annotations

import os
import sysconfig
from functools import lru_cache
from struct import Struct, unpack_from

from .elf import SharedObject, read_file
from .libraries import HARMLESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NETWORK_FUNCTIONS = frozenset({
    b"connect", b"bind", b"sendto", b"sendmsg", b"sendmmsg", b"BIO_new_connect", b"BIO_s_connect",
    b"getaddrinfo", b"gethostbyname", b"gethostbyname2", b"gethostbyname_r", b"gethostbyname2_r",
    b"__res_query", b"__res_search", b"res_query", b"res_search", b"res_nquery", b"res_nsearch",
})  # fmt: skip
"""A shared object that imports one of these functions uses the network by itself."""

OF_THE_C_LIBRARY = NETWORK_FUNCTIONS | {b"socket", b"getifaddrs", b"if_indextoname", b"if_nameindex", b"if_nametoindex"}
"""Functions of the C library that act in the program's own namespace."""

C_LIBRARY = ("libc.so", "libc-", "ld-linux", "ld-musl", "libdl.so", "libm.so", "libpthread.so", "librt.so")
_TRUSTED = (*C_LIBRARY, "libnsl.so", "libnss_", "libresolv.so", "libpython", "libcrypto", "libssl", "linux-vdso")
"""Beginnings of the names of objects that have network functions for others. They do nothing by themselves."""

_DEFAULT_DIRECTORIES = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")
_CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER_BYTES = 48
_CACHE_ENTRY = Struct("<iIIIQ")
"""struct file_entry_new: flags, offset of the name, offset of the path, version of the system, hardware."""

_STANDARD_LIBRARY = os.path.realpath(sysconfig.get_path("stdlib")) + "/"


def network_function(path: str) -> str | None:
    """Return the name of a network function that a shared object, or an object that it needs, imports.

    Raises:
        OSError: a file can't be read.
        ValueError: a file is no shared object.
    """
    if is_trusted(path):
        return None
    return next((name for found in _with_needed(path) if (name := _imported(found))), None)


def own_network_function(path: str) -> str | None:
    """Return the name of a network function that a shared object itself imports. The errors are the same."""
    return None if is_trusted(path) else _imported(path)


def is_trusted(path: str) -> bool:
    """Return whether a shared object belongs to Python's standard library, the C library, or a harmless package."""
    name = os.path.basename(path)
    is_standard = path.startswith(_STANDARD_LIBRARY) and not {"site-packages", "dist-packages"} & set(path.split("/"))
    return is_standard or name.startswith(_TRUSTED) or not HARMLESS.isdisjoint(names_in(path))


def names_in(path: str) -> set[str]:
    """Return the names of a shared object and of all its directories, each without versions: it may be part of them."""
    *directories, name = path.split("/")
    return {directory.partition(".")[0] for directory in directories} | {_stem(name)}


def package_of_path(path: str) -> str:
    """Return the name of the package that a shared object is part of, or else its own name, without versions."""
    *directories, name = path.split("/")
    for root in ("site-packages", "dist-packages"):
        if root in directories[:-1]:
            return directories[directories.index(root) + 1].partition(".")[0]
    return _stem(name)


def _stem(name: str) -> str:
    return name.partition(".")[0].partition("-")[0]


def find_object(name: str) -> str | None:
    """Return the path of the file that dlopen(3) takes for a name, or `None` if there is none."""
    return _find(name, os.environ.get("LD_LIBRARY_PATH", "").split(":"))


def mapped_objects() -> set[str]:
    """Return the paths of all shared objects in this process's memory. Source: proc_pid_maps(5)."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as lines:
        fields = [line.rstrip("\n").split(maxsplit=5) for line in lines]
    return {line[5] for line in fields if len(line) == 6 and "x" in line[1] and line[5].startswith("/")}


def own_objects() -> list[str]:
    """Return the mapped objects of Python itself: the program, its standard library, and the objects of LD_PRELOAD."""
    preloaded = os.environ.get("LD_PRELOAD", "").replace(":", " ").split()
    return [
        os.path.realpath("/proc/self/exe"),
        *(path for path in mapped_objects() if path.startswith(_STANDARD_LIBRARY) and is_trusted(path)),
        *(path for name in preloaded if (path := find_object(name))),
    ]


def with_needed(paths: Iterable[str]) -> set[str]:
    """Return shared objects, and all objects that they need. A file that can't be read needs no other."""
    found: set[str] = set()
    for path in paths:
        found.add(path)
        try:
            found.update(_with_needed(path))
        except (OSError, ValueError):
            continue
    return found


@lru_cache(4096)
def _read(path: str) -> SharedObject:
    return read_file(path)


def _imported(path: str) -> str | None:
    functions = _read(path).symbols & NETWORK_FUNCTIONS
    return min(functions).decode() if functions else None


def _with_needed(path: str) -> Iterator[str]:
    """Yield an object and all objects that it needs, without the trusted ones."""
    waiting = [os.path.realpath(path)]
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        yield path
        shared_object = _read(path)
        origin = os.path.dirname(path)
        directories = [
            text.replace("$ORIGIN", origin).replace("${ORIGIN}", origin) for text in shared_object.directories
        ]
        for name in shared_object.needed:
            found = None if name.startswith(_TRUSTED) else _find(name, directories)
            if found is not None and found not in seen:
                seen.add(found)
                waiting.append(found)


def _find(name: str, directories: list[str]) -> str | None:
    for place in _places(name, directories):
        if os.path.exists(place):
            return os.path.realpath(place)
    return None


def _places(name: str, directories: list[str]) -> Iterator[str]:
    if "/" in name:
        yield name
        return
    yield from (f"{directory}/{name}" for directory in directories if directory)
    if cached := _cache().get(name):
        yield cached
    yield from (f"{directory}/{name}" for directory in _DEFAULT_DIRECTORIES)
    yield from (path for path in mapped_objects() if path.endswith(f"/{name}"))


@lru_cache(1)
def _cache() -> dict[str, str]:
    """Return the loader's cache: the path of each object by its name. It is empty for another C library."""
    try:
        with open(_CACHE, "rb") as file:
            data = file.read()
        start = data.index(_CACHE_MAGIC)
    except (OSError, ValueError):
        return {}
    (count,) = unpack_from("<I", data, start + 20)
    found: dict[str, str] = {}
    for number in range(count):
        entry = _CACHE_ENTRY.unpack_from(data, start + _CACHE_HEADER_BYTES + number * _CACHE_ENTRY.size)
        name, path = (data[start + at : data.index(b"\0", start + at)].decode() for at in entry[1:3])
        found.setdefault(name, path)
    return found
