"""Finds all namespaces of the running system: the broker's own, the named ones, and the ones that processes are in."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Iterator
from functools import partial
from sys import byteorder

from .netns import (
    HOST,
    Gate,
    NamespaceNotFoundError,
    check_name,
    list_names,
    namespace_cookie,
    namespace_id,
    open_namespace,
)


def reachable_namespaces(gate: Gate) -> Iterator[tuple[str | None, int]]:
    """Yield the name (maybe None) and a descriptor of each namespace. The descriptor is lent until the next step.

    A namespace with several names comes once for each name. A namespace that goes away meanwhile is left out.
    """
    yield HOST, gate.home_fd
    seen = {_identity(gate.home_fd)}
    for name in list_names():
        try:
            fd = open_namespace(check_name(name))
        except NamespaceNotFoundError:
            continue
        seen.add(_identity(fd))
        yield from _lend(name, fd)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # the process has ended; a zombie has no namespace
            continue
        if (identity := _identity(fd)) in seen:
            os.close(fd)
            continue
        seen.add(identity)
        yield from _lend(None, fd)


def find_namespaces(gate: Gate, cookies: Collection[int]) -> Iterator[tuple[int, str | None, int]]:
    """Yield cookie, name and descriptor of each namespace with one of these cookies, each cookie once."""
    missing = set(cookies)
    for name, fd in reachable_namespaces(gate):
        if not missing:
            return
        try:
            cookie = cookie_of(gate, fd)
        except NamespaceNotFoundError:  # an entry without a mount
            continue
        if cookie in missing:
            missing.remove(cookie)
            yield cookie, name, fd


def cookie_of(gate: Gate, fd: int) -> int:
    """Return the cookie of a namespace, which is SO_NETNS_COOKIE of its sockets.

    Raises:
        NamespaceNotFoundError: the descriptor is no network namespace.
    """
    number = namespace_id(fd)
    if number is not None:
        return int.from_bytes(number, byteorder)
    with gate.call_inside(fd, partial(socket.socket, socket.AF_UNIX, socket.SOCK_DGRAM)) as sock:
        return namespace_cookie(sock)


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _lend(name: str | None, fd: int) -> Iterator[tuple[str | None, int]]:
    try:
        yield name, fd
    finally:
        os.close(fd)
