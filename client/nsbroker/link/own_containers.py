"""Finds a container of the user's own podman or docker, and opens its network namespace with the user's rights.

The engine names a process. Its number proves nothing: the engine can be wrong about it, and the kernel uses numbers
again. So all files are opened through one descriptor of the process's directory in /proc, which never means another
process. Then the process must be the container's, and the namespace must belong to the user.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time

from ..wire.record import Record
from . import asking_engines
from .engine_answers import Container, EngineError, NoContainerError, is_container_name
from .waiting import wait

MAX_FILE_BYTES = 2**16
"""A larger resolv.conf or hosts file is refused."""

_ATTEMPTS = 3
_PAUSE_S = 0.02
_MAX_PROC_BYTES = 2**16
_CLOCKS_DIFFER_S = 1.0
"""A process is older than the time at which its engine says that it started the container. Clocks are rounded."""

# Source: include/uapi/linux/nsfs.h.
_NS_GET_USERNS = 0xB701
_NS_GET_OWNER_UID = 0xB704


class OwnContainerError(Exception):
    """The user has no such container that can be used. The text names the engine that was asked, and the reason."""


class OwnContainer(Record):
    """A container of the user. The caller closes `fd`, a descriptor of its network namespace.

    `resolv_conf` and `hosts` are the paths of its files, or "".
    """

    fd: int
    resolv_conf: str
    hosts: str


async def find(name: str, timeout_s: float) -> OwnContainer:
    """Find a container of the user that runs now.

    Args:
        name: an engine and the container's name, such as "podman:web".
        timeout_s: seconds for the engine's answer.

    Raises:
        OwnContainerError: there is no such container, its network is not its own, or the engine does not answer.
    """
    engine, _, container_name = name.partition(":")
    says = f"your own {engine} says"
    if not is_container_name(container_name):
        raise OwnContainerError(f"no container can have the name {container_name[:40]!r}")
    deadline = time.monotonic() + timeout_s
    try:
        for attempt in range(_ATTEMPTS):
            if attempt:
                await wait(time.monotonic() + _PAUSE_S, ())
            container = await asking_engines.ask(engine, container_name, deadline)
            if (fd := _open_network(container)) is not None:
                return OwnContainer(fd, container.resolv_conf, container.hosts)
    except NoContainerError as error:
        raise OwnContainerError(f"{says}: {error}") from error
    except EngineError as error:
        raise OwnContainerError(f"your own {engine} can't be asked: {error}") from error
    gone = "is gone, or is another program's by now"
    raise OwnContainerError(
        f"{says} that {container_name!r} runs as the process {container.pid}, which {gone}: restart it"
    )


def _open_network(container: Container) -> int | None:
    """Open the network namespace of a container, or return `None` if its process is not there any more.

    Raises:
        NoContainerError: the namespace is not the container's own, or not the user's.
    """
    try:
        process = os.open(f"/proc/{container.pid}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not _is_process_of(process, container):
            return None
        fd = os.open("ns/net", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=process)
    except (FileNotFoundError, ProcessLookupError):
        return None
    except PermissionError as error:
        text = f"its process {container.pid} is not yours, so neither is its network"
        raise NoContainerError(text) from error
    finally:
        os.close(process)
    try:
        _check_network(fd)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _is_process_of(process: int, container: Container) -> bool:
    """Return whether a process is the one that the engine started.

    Either it is in the control group that bears the container's id, or it is no younger than the container. Any process
    that got its number later is younger.
    """
    groups = _read_proc("cgroup", process).replace(b"\n", b"/").split(b"/")
    names = [
        f"{prefix}{container.id}{suffix}".encode() for prefix in ("", "libpod-", "docker-") for suffix in ("", ".scope")
    ]
    if not set(names).isdisjoint(groups):
        return True
    # Source: proc_pid_stat(5). The program's name, in parentheses, may have any bytes.
    ticks = int(_read_proc("stat", process).rpartition(b")")[2].split()[19])
    age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    return container.started_at is not None and time.time() - age_s <= container.started_at + _CLOCKS_DIFFER_S


def _read_proc(name: str, process: int) -> bytes:
    fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=process)
    try:
        return os.read(fd, _MAX_PROC_BYTES)
    finally:
        os.close(fd)


def _check_network(fd: int) -> None:
    """Check that a network namespace is not this program's, and belongs to a user namespace of this user.

    Raises:
        NoContainerError: it is another one.
    """
    if os.path.samestat(os.fstat(fd), os.stat("/proc/thread-self/ns/net")):
        raise NoContainerError("its network is the one of this program (--network host)")
    try:
        user_fd = fcntl.ioctl(fd, _NS_GET_USERNS)
    except PermissionError as error:
        raise NoContainerError("its network is not yours") from error
    try:
        owner = bytearray(4)
        fcntl.ioctl(user_fd, _NS_GET_OWNER_UID, owner)
    finally:
        os.close(user_fd)
    uid = int.from_bytes(owner, sys.byteorder)
    if uid != os.geteuid():
        raise NoContainerError(f"its network belongs to the uid {uid}, not to you (--network host or ns:)")


def read_file(path: str) -> str:
    """Return the text of a file that an engine names.

    A file that does not exist is empty, and so is the path "". No symbolic link is followed, and no pipe is waited for.

    Raises:
        OSError: it is no regular file, is larger than `MAX_FILE_BYTES`, or can't be read. The message has the path.
    """
    if not path:
        return ""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return ""
    except OSError as error:
        reason = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
        raise OSError(error.errno, f"can't read the container's file {path}: {reason}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, f"can't read the container's file {path}: it is no regular file")
        data = os.read(fd, MAX_FILE_BYTES + 1)
    finally:
        os.close(fd)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"can't read the container's file {path}: it is larger than {MAX_FILE_BYTES} bytes")
    return data.decode(errors="replace")
