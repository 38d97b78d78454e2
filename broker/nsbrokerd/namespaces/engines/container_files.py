"""Reads the files by which a container looks up names. The container chooses their contents, and maybe their kind."""

from __future__ import annotations

import os
import stat

from ..netns import DESCRIPTORS_USED_UP

MAX_FILE_BYTES = 2**16
"""A larger file is not read."""


def read_container_file(path: str) -> str | None:
    """Return the text of a file, or None unless it is a regular file of at most MAX_FILE_BYTES.

    It follows no symbolic link at the end of the path, and never waits for a pipe.

    Raises:
        OSError: no descriptor is left (EMFILE, ENFILE).
    """
    if not path.isprintable():
        return None
    try:
        fd = os.open(path.encode(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in DESCRIPTORS_USED_UP:
            raise
        return None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        content = os.read(fd, MAX_FILE_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(fd)
    return None if len(content) > MAX_FILE_BYTES else content.decode(errors="replace")
