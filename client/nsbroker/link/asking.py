"""What can be asked of the broker, as steps: the client of threads and those of event loops only run them."""

from __future__ import annotations

import os
import socket
from functools import partial
from time import monotonic

from ..wire.answers import decode_namespaces, decode_resolver_files
from ..wire.bounds import MAX_WAIT_S
from ..wire.messages import (
    NamespaceList,
    NamespaceRef,
    NamespacesRequest,
    OpenedSocket,
    ResolverFiles,
    ResolverRequest,
    SocketSpec,
)
from .batch import Chunk, split, without_cloexec
from .exchange import Batch, ask_blob, ask_socket
from .proof import take_sockets
from .references import open_path, open_paths

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from .retry import Reach
    from .waiting import Steps

    S = TypeVar("S", bound=socket.SocketType)


def plain_socket(spec: SocketSpec, fd: int) -> socket.socket:
    """Make a socket of the socket module's own class, which then owns the descriptor."""
    # With the type's SOCK_NONBLOCK given, the socket module sets its timeout to match; else the program's default.
    return socket.socket(spec.family, spec.type, spec.proto, fd)


def open_sockets(
    reach: Reach, take_fd: Callable[[SocketSpec, int], S], specs: Iterable[SocketSpec], wait_s: float
) -> Steps[list[S]]:
    """Open sockets, all or none; each is made by `take_fd(spec, fd)`. See `Client.open`."""
    if not 0 <= wait_s <= MAX_WAIT_S:
        raise ValueError(f"wait is 0..{MAX_WAIT_S} seconds")
    specs = specs if isinstance(specs, list | tuple) else list(specs)
    if len(specs) == 1 and type(specs[0].namespace) is str and "/" not in specs[0].namespace:
        ask = partial(ask_socket, without_cloexec(specs[0]), take_fd, monotonic() + wait_s if wait_s else 0)
        return [(yield from reach.settle(ask, wait_s))]
    resolved, path_fds = open_paths(specs)
    sockets: dict[int, list[S]] = {}

    def take_answer(chunk: Chunk, opened: tuple[OpenedSocket, ...], fds: list[int]) -> None:
        sockets[chunk.first] = take_sockets(chunk.specs, opened, fds, take_fd)

    try:
        batch = Batch(split(resolved), take_answer, wait_s)
        yield from reach.settle(batch.converse, wait_s)
        return [sock for first in sorted(sockets) for sock in sockets[first]]
    except BaseException:
        for answered in sockets.values():
            for sock in answered:
                sock.close()
        raise
    finally:
        for fd in path_fds:
            os.close(fd)


def list_namespaces(reach: Reach) -> Steps[NamespaceList]:
    """Ask which namespaces this user may use. See `Client.namespaces`."""
    return (yield from reach.settle(partial(ask_blob, NamespacesRequest, (), decode_namespaces)))


def read_resolver_files(reach: Reach, namespace: NamespaceRef) -> Steps[ResolverFiles]:
    """Ask for the files by which names are looked up in a namespace. See `Client.resolver_files`."""
    path_fd = open_path(namespace) if type(namespace) is str and "/" in namespace else None
    fd = namespace if type(namespace) is int else path_fd
    try:
        fds = () if fd is None else (fd,)
        ref = namespace if fd is None else 0
        ask = partial(ask_blob, partial(ResolverRequest, namespace=ref), fds, decode_resolver_files)
        return (yield from reach.settle(ask))
    finally:
        if path_fd is not None:
            os.close(path_fd)
