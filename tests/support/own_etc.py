"""An /etc for one test alone, with users and delegated ids that the machine does not have."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_FS = 0x00000200
_CLONE_NEWNS = 0x00020000

_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def own_etc() -> Iterator[Path]:
    """Give this thread, and the processes that it starts, a copy of /etc. Yield its directory.

    Mounts of the machine, for example of new namespaces, are seen in it. The copy ends with the context.
    """
    directory = Path(tempfile.mkdtemp(prefix="nsbroker-test-"))
    directory.chmod(0o755)
    copy = directory / "etc"
    shutil.copytree("/etc", copy, symlinks=True, ignore_dangling_symlinks=True)
    before, here = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), Path.cwd()
    _check(_libc.unshare(_CLONE_NEWNS))
    try:
        subprocess.run(["mount", "--make-rslave", "/"], check=True)
        subprocess.run(["mount", "--bind", str(copy), "/etc"], check=True)
        yield copy
    finally:
        # A thread that was started since shares the current directory, and setns(2) refuses that.
        _check(_libc.unshare(_CLONE_FS))
        _check(_libc.setns(before, _CLONE_NEWNS))
        os.close(before)
        os.chdir(here)  # setns moved it to the root
        shutil.rmtree(directory)


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
