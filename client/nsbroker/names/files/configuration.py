"""The files of a namespace, parsed: resolv.conf and hosts."""

from __future__ import annotations

import socket

from ...wire.record import Record
from . import hosts, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ...wire.messages import ResolverFiles


class Configuration(Record):
    """The parsed files of a namespace.

    `origin` is the path of the resolv.conf. `namespace` is the namespace's name, or "" if it has no name. Errors use
    both.
    """

    settings: resolv_conf.Settings
    hosts: hosts.Hosts
    origin: str = "/etc/resolv.conf"
    namespace: str = ""


def parse(files: ResolverFiles, namespace: str = "", hostname: Callable[[], str] = socket.gethostname) -> Configuration:
    """Parse a namespace's files.

    Args:
        files: the texts, and the path of the resolv.conf.
        namespace: the namespace's name for errors, or "".
        hostname: returns this machine's name. Its domain is searched if resolv.conf names no domain.
    """
    settings = resolv_conf.parse(files.resolv_conf, hostname())
    return Configuration(settings, hosts.parse(files.hosts), files.origin, namespace)
