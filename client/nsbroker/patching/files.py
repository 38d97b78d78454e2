"""`open` for programs under `patch`: the files of the C library's resolver have the namespace's text.

Libraries read these files by themselves, for example dnspython. So do programs in `ip netns exec`, which mounts the
namespace's files over those of /etc.
"""

from __future__ import annotations

import io
import os
import threading

from ..drivers.thread import run
from ..guards.look_ups import RESOLV_CONF, resolver_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ..place.place import Place

_original: Callable[..., Any] = io.open


class NamespaceFiles(threading.local):
    """Replaces `open` for one namespace. `is_opening` is whether this thread opens such a file right now."""

    is_opening = False

    def __init__(self, place: Place) -> None:
        self._place = place

    def open(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """Open a file as `io.open` does. The resolver's files have the namespace's text, unless you write to them."""
        if type(file) is int or not set(mode).isdisjoint("wax+") or not (name := resolver_file(file)):
            return _original(file, mode, buffering, encoding, errors, newline, closefd, opener)
        self.is_opening = True
        try:
            return _original(
                file, mode, buffering, encoding, errors, newline, closefd, lambda *_: self._open_text(name)
            )
        finally:
            self.is_opening = False

    def _open_text(self, name: str) -> int:
        files = run(self._place.resolver_files())
        fd = os.memfd_create(name)
        with _original(fd, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as file:
            file.write(files.resolv_conf if name == RESOLV_CONF else files.hosts)
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
