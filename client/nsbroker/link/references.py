"""Opens namespaces that the caller names by a path, with the caller's own rights.

The broker never opens a path that a client names. It gets a descriptor, and proves that it is a network namespace.
"""

from __future__ import annotations

import errno
import os

from ..wire.messages import SocketSpec
from .errors import AccessDeniedError, Error, NamespaceNotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


CONTAINERS = ("podman:", "docker:")
"""The beginnings of the names of containers that can be the user's own. Pods belong to the machine."""


def is_container(namespace: object) -> bool:
    """Return whether a namespace is given by the name of a container."""
    return type(namespace) is str and namespace.startswith(CONTAINERS) and "/" not in namespace


def open_path(path: str) -> int:
    """Open a namespace by its path, such as /proc/PID/ns/net. The caller owns the returned descriptor.

    Raises:
        NamespaceNotFoundError: there is no such file.
        AccessDeniedError: this user may not open it. /proc/PID/ns needs the same rights as ptrace(2).
        OSError: as open(2).
    """
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        error_type: type[OSError] = OSError
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
            error_type = NamespaceNotFoundError
        elif error.errno in (errno.EACCES, errno.EPERM):
            error_type = AccessDeniedError
        raise error_type(error.errno, f"can't open the namespace {path}: {error.strerror}", path) from error


def open_paths(specs: Sequence[SocketSpec]) -> tuple[Sequence[SocketSpec], list[int]]:
    """Replace paths (names with a "/") by descriptors. The caller closes the descriptors, which the second item lists.

    Raises:
        OSError: as `open_path`, with the index of the spec. No descriptor stays open.
    """
    if not any(type(spec.namespace) is str and "/" in spec.namespace for spec in specs):
        return specs, []
    opened: dict[str, int] = {}
    resolved: list[SocketSpec] = []
    try:
        for spec in specs:
            path = spec.namespace
            if type(path) is str and "/" in path:
                if path not in opened:
                    opened[path] = open_path(path)
                spec = spec._replace(namespace=opened[path])
            resolved.append(spec)
    except BaseException as error:
        for fd in opened.values():
            os.close(fd)
        if isinstance(error, Error):
            error.index = len(resolved)
        raise
    return resolved, list(opened.values())
