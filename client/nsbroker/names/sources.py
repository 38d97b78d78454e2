"""Where a namespace's resolv.conf and hosts come from, and for how long they are believed."""

from __future__ import annotations

import socket
from time import monotonic

from . import hosts, resolv_conf
from .actions import Configuration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class ResolverFiles(Protocol):
        """A namespace's files as the broker gives them; `origin` is the path of the resolv.conf."""

        @property
        def resolv_conf(self) -> str: ...  # noqa: D102  # the class says it
        @property
        def hosts(self) -> str: ...  # noqa: D102
        @property
        def origin(self) -> str: ...  # noqa: D102


KEEP_S = 2.0
"""Long enough for the look-ups of one web page, short enough for someone who edits the file and tries again."""


class Configurations:
    """The files of one namespace, read: the last ones, as long as they are believed.

    A driver asks `fresh`; if that has none, it gets the files and gives them to `store`.

    Args:
        namespace: the namespace's name for errors, or "".
        clock: gives seconds.
        hostname: gives this machine's name, whose domain is searched where resolv.conf names none.
    """

    def __init__(
        self,
        namespace: str = "",
        clock: Callable[[], float] = monotonic,
        hostname: Callable[[], str] = socket.gethostname,
    ) -> None:
        self._namespace = namespace
        self._clock = clock
        self._hostname = hostname
        # One tuple, so that threads see all of it or none.
        self._kept: tuple[float, tuple[str, str, str], Configuration] | None = None

    def fresh(self) -> Configuration | None:
        """Give what was stored last, unless it is too old."""
        kept = self._kept
        return kept[2] if kept and self._clock() < kept[0] else None

    def store(self, files: ResolverFiles) -> Configuration:
        """Read the files; they are believed from now on."""
        texts = (files.resolv_conf, files.hosts, files.origin)
        kept = self._kept
        configuration = kept[2] if kept and kept[1] == texts else self._read(*texts)
        self._kept = (self._clock() + KEEP_S, texts, configuration)
        return configuration

    def _read(self, resolv_conf_text: str, hosts_text: str, origin: str) -> Configuration:
        settings = resolv_conf.parse(resolv_conf_text, self._hostname())
        return Configuration(settings, hosts.parse(hosts_text), origin, self._namespace)
