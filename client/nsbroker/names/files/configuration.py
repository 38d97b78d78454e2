"""A namespace's resolv.conf and hosts: where they come from, and for how long they are believed."""

from __future__ import annotations

import socket
from time import monotonic

from ...wire.record import Record
from . import hosts, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.messages import ResolverFiles

KEEP_S = 2.0
"""Long enough for the look-ups of one web page, short enough for a user who edits the file and tries again."""


class Configuration(Record):
    """The parsed files of a namespace.

    `origin` is the path of the resolv.conf. `namespace` is the namespace's name, or "" if it has no name. Errors use
    both.
    """

    settings: resolv_conf.Settings
    hosts: hosts.Hosts
    origin: str = "/etc/resolv.conf"
    namespace: str = ""


class Configurations:
    """The latest configuration of one namespace. If `fresh` returns `None`, get the files and call `store`.

    Args:
        namespace: the namespace's name for errors, or "".
        clock: returns seconds.
        hostname: returns this machine's name. Its domain is searched if resolv.conf names no domain.
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
        # One tuple, so that another thread never sees a part of it.
        self._kept: tuple[float, ResolverFiles, Configuration] | None = None

    def fresh(self) -> Configuration | None:
        """Return the configuration that was stored last, or `None` if it is too old."""
        kept = self._kept
        return kept[2] if kept and self._clock() < kept[0] else None

    def store(self, files: ResolverFiles) -> Configuration:
        """Return the configuration of these files, and believe it from now on."""
        kept = self._kept
        configuration = kept[2] if kept and kept[1] == files else self._read(files)
        self._kept = (self._clock() + KEEP_S, files, configuration)
        return configuration

    def _read(self, files: ResolverFiles) -> Configuration:
        settings = resolv_conf.parse(files.resolv_conf, self._hostname())
        return Configuration(settings, hosts.parse(files.hosts), files.origin, self._namespace)
