"""The files by which names are looked up in a namespace: those of /etc/netns/NAME first, as `ip netns exec` has it.

The client may not be able to read them, or has others at these paths (in a container). The broker hands out the
texts, and looks up nothing itself. Source: ip-netns(8), resolv.conf(5), hosts(5).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

from nsbroker.wire import ResolverFiles

MAX_FILE_BYTES = 2**20
"""A larger file is refused: it is read while everybody waits."""


def read_resolver_files(names: Iterable[str], etc: str = "/etc") -> ResolverFiles:
    """Read resolv.conf and hosts for the first of the names that has them, each by itself; else the system's.

    A file that does not exist is empty: look-ups then use the name server of the namespace's own loopback.

    Args:
        names: checked names of the namespace; special ones such as "@host" have no files of their own.
        etc: where to look.

    Raises:
        OSError: one is there and can't be read, or is larger than MAX_FILE_BYTES (EFBIG).
    """
    directories = [f"{etc}/netns/{name}" for name in names if not name.startswith("@")] + [etc]
    resolv_conf, origin = _read_first([f"{directory}/resolv.conf" for directory in directories])
    hosts, _ = _read_first([f"{directory}/hosts" for directory in directories])
    return ResolverFiles(resolv_conf, hosts, origin)


def _read_first(paths: list[str]) -> tuple[str, str]:
    for path in paths:
        try:
            # As bytes: names are UTF-8 here, whatever the locale says.
            fd = os.open(path.encode(), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            continue
        try:
            data = _read(fd)
        finally:
            os.close(fd)
        if len(data) > MAX_FILE_BYTES:
            raise OSError(errno.EFBIG, f"{path} is larger than {MAX_FILE_BYTES} bytes")
        return data.decode(errors="replace"), path
    return "", paths[-1]


def _read(fd: int) -> bytes:
    """Read what there is, and a byte past MAX_FILE_BYTES at most.

    Raises:
        OSError: it is a directory (EISDIR), or a pipe whose writer has not written yet (EAGAIN).
    """
    data = b""
    while len(data) <= MAX_FILE_BYTES and (part := os.read(fd, MAX_FILE_BYTES + 1 - len(data))):
        data += part
    return data
