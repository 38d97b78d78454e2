"""Opens a network namespace by the path in an engine's answer, and proves that it is one, and not the broker's own.

A pid proves less: an engine may report a process that has ended, and its number can be another's by now.
"""

from __future__ import annotations

import errno
import fcntl
import os

from ...policy.engine_names import EngineName
from ..file_identity import Identity, identify
from ..netns import DESCRIPTORS_USED_UP
from .answers import EngineError

# Source: include/uapi/linux/nsfs.h and sched.h.
_NS_GET_NSTYPE = 0xB703
_CLONE_NEWNET = 0x40000000

_PATH_MAX = 4096


def open_key(path: str, name: EngineName, home: Identity) -> int:
    """Open the network namespace of a container. The caller owns the returned descriptor.

    Args:
        path: the path in the engine's answer.
        name: the container, for messages.
        home: the broker's own network namespace.

    Raises:
        EngineError: the path is "no-key", "not-running" or "host-network".
        OSError: no descriptor is left (EMFILE, ENFILE).
    """
    if not path or path.startswith("/proc/"):
        raise EngineError(
            "no-key",
            f"{name.engine} has no path of the network namespace of {name.name} (--network none): give the namespace a"
            " name by an OCI hook, see containers.md",
        )
    if not _is_plain(path):
        message = f"{name.engine} is unavailable: its answer has no legal path of the network namespace of {name.name}"
        raise EngineError("unavailable", message)
    try:
        fd = os.open(path.encode(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in DESCRIPTORS_USED_UP:
            raise
        raise _not_running(path, name, os.strerror(error.errno or errno.EIO)) from error
    try:
        found = identify(fd)
        if found == home:
            raise EngineError("host-network", f"the network of {name} is the host's: ask for @host")
        # All namespaces are on one file system. No other file gets the ioctl, which means something else there.
        if found[0] != home[0] or fcntl.ioctl(fd, _NS_GET_NSTYPE) != _CLONE_NEWNET:
            raise _not_running(path, name, "it is no network namespace")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_plain(path: str) -> bool:
    """Return whether a path is absolute, in its shortest form, and printable."""
    root, *parts = path.split("/")
    return root == "" and not {"", ".", ".."}.intersection(parts) and path.isprintable() and len(path) < _PATH_MAX


def _not_running(path: str, name: EngineName, why: str) -> EngineError:
    return EngineError(
        "not-running",
        f"{name} has no network namespace now ({path}: {why}): start it. If it runs, the broker may not see this path",
    )
