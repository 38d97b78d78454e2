"""Keeps the sockets and look-ups of other libraries out of an event loop of a namespace, unless they are in one."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from ..drivers.thread import run
from ..guards.libraries import PASS_OWN_SOCKETS, calling_library, calls_for, way_of
from ..guards.look_ups import LookUpGuard
from ..link.errors import WrongNamespaceError
from ..link.identity import is_local, socket_cookie
from ..link.proof import netns_cookie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn

    from ..guards.audit import Handlers
    from ..place.place import Place

_UNREAD = (int(socket.AF_INET), int(socket.SOCK_STREAM | socket.SOCK_NONBLOCK), 0)
"""With this kind, the socket module wraps any descriptor, and neither asks for its real kind nor changes its flags."""

_working = threading.local()
"""`guard` is the guard of the event loop that this thread works for, as a thread of the loop's default executor."""


class LoopGuard(LookUpGuard):
    """Refuses libraries in C as long as a loop exists, and look-ups in C by the code that the loop runs.

    Args:
        place: the namespace of the loop.
        allow: packages to let through, by their names.
    """

    def __init__(self, place: Place, allow: Iterable[str] = ()) -> None:
        super().__init__(f"the event loop of {place.namespace!r}", "loop_factory", allow, harmless=["uvloop"])
        self._place = place
        self._allowed: dict[bytes, weakref.ref[socket.socket] | None] = {}
        own: Any = socket.SocketType(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._own_namespace = netns_cookie(own)
        own.close()

    def handlers(self) -> Handlers:
        """Return the functions for audit events."""
        sends = ("socket.sendto", "socket.sendmsg")
        return {
            **super().handlers(),
            **dict.fromkeys(sends, self._on_send),
            "socket.connect": self._on_connect,
        }

    def applies(self) -> bool:
        """Return whether the loop runs in this thread, or this thread works for it."""
        loop = asyncio._get_running_loop()
        guard = getattr(_working, "guard", None) if loop is None else getattr(loop, "_guard", None)
        return guard is self

    def _is_refused(self) -> bool:
        return super()._is_refused() and not self._is_at_home()

    def _is_at_home(self) -> bool:
        """Return whether the loop's namespace is the program's own. This blocks, but only before a refusal."""
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with suppress(OSError), socket.socket(socket.AF_INET, kind) as own:
                return run(self._place.has(own))
        return False

    def work(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread of the loop's default executor."""
        _working.guard = self
        try:
            return function(*args)
        finally:
            _working.guard = None

    def allow_socket(self, sock: Any) -> None:
        """Let the loop use a socket, given by its object or its descriptor."""
        cookie = _on_socket(sock, socket_cookie)
        if cookie is None:
            return
        if isinstance(sock, socket.socket):
            # No cookie stays longer than its socket, else the list would grow for ever.
            self._allowed[cookie] = weakref.ref(sock, lambda _: self._allowed.pop(cookie, None))
        else:
            self._allowed[cookie] = None

    def allows(self, sock: socket.socket) -> bool:
        """Return whether `allow_socket` has named a socket."""
        return bool(self._allowed) and socket_cookie(sock) in self._allowed

    def refuse_own(self, sock: Any) -> None:
        """Refuse a network socket of the program's own namespace, given by its object or its descriptor.

        Raises:
            WrongNamespaceError: it is such a socket, and not allowed.
        """
        if _on_socket(sock, self._is_own):
            self._judge(sock)

    def refuse_made_by_library(self, sock: Any) -> None:
        """Refuse a socket of the program's own namespace that a library has made, and passes as `sock=`.

        Raises:
            WrongNamespaceError: it is such a socket, and not allowed.
        """
        if _on_socket(sock, self._is_own) and calling_library() in PASS_OWN_SOCKETS:
            self._judge(sock)

    def _is_own(self, sock: socket.socket) -> bool:
        try:
            if netns_cookie(sock) != self._own_namespace or is_local(sock):
                return False
        except OSError:
            return False  # It is closed, and the loop itself says so.
        return not self.allows(sock)

    def _judge(self, sock: Any) -> None:
        """Refuse a socket, unless the loop is in the program's own namespace or its library is allowed."""
        if calls_for(self.allow):
            return
        try:
            # This blocks, but only for a socket that is refused otherwise.
            if _on_socket(sock, lambda sock: run(self._place.has(sock))):
                return
        except OSError as error:
            self._refuse_socket(error)
        self._refuse_socket()

    def _refuse_socket(self, cause: OSError | None = None) -> NoReturn:
        library = calling_library()
        text = f"{library} has a socket of the program's own network namespace for {self.subject}"
        remedy = f"{way_of(library)} instead, or let the socket leave by loop.allow(sock)"
        raise WrongNamespaceError(errno.EXDEV, f"{text}: {remedy}") from cause

    def _on_send(self, sock: socket.socket, address: object) -> None:
        # In the loop's own thread, the socket may be one for an argument `sock=`. In its executor, it can't be.
        if getattr(_working, "guard", None) is self and address is not None and self._is_own(sock):
            self._judge(sock)

    def _on_connect(self, sock: socket.socket, address: object) -> None:
        # A library that connects without blocking gives the loop the socket only afterwards, which is too late.
        if sock.gettimeout() == 0 and self.applies() and self._is_own(sock):
            self._judge(sock)
        self._on_send(sock, address)


def _on_socket(file: Any, ask: Callable[[Any], Any]) -> Any:
    """Return `ask(socket)` for a socket, its descriptor or an object with one. Return `None` for another file."""
    if isinstance(file, socket.SocketType):
        return ask(file)
    try:
        wrapped = socket.SocketType(*_UNREAD, file if isinstance(file, int) else file.fileno())
    except (AttributeError, OSError, TypeError, ValueError):
        return None  # The loop itself refuses it, or it is a pipe, for example.
    try:
        return ask(wrapped)
    finally:
        wrapped.detach()
