"""Looks at the places of this host that a broker needs: its socket, its audit, and its limits.

`serve`, a reload and `check` all look here, so they say the same. Nothing is made or changed.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..seal import why_no_place
from ..sockets.capabilities import read_own
from . import Config, ConfigError, Problem

_CAP_CHOWN = 0
_LISTENING = b"00010000"
"""A flag of a socket in /proc/net/unix: SO_ACCEPTCON in include/linux/net.h."""

_AUDIT_REMEDIES = {
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "name a file in a directory",
    errno.EROFS: "name another place, or let the service write there (ReadWritePaths= of its unit)",
    errno.ENXIO: "start the program that reads this pipe, or name a file",
    errno.EACCES: "name another place, or let the broker write there",
    errno.EPERM: "name another place, or let the broker write there (see lsattr)",
    errno.ELOOP: "name the file itself",
}


def expect_places(file: Path, config: Config, *, needs_socket: bool) -> None:
    """Check that a broker can use the places of its configuration.

    Args:
        file: the main file of the configuration.
        config: its contents.
        needs_socket: whether the broker makes its own socket. Otherwise, a service manager passes it, or it has it.

    Raises:
        ConfigError: with all problems that keep the broker from serving.
    """
    if problems := find_problems(file, config, needs_socket=needs_socket):
        raise ConfigError(problems)


def find_problems(file: Path, config: Config, *, needs_socket: bool) -> list[Problem]:
    """List all problems that `expect_places` raises."""
    found: list[tuple[str, str | None]] = []
    if config.audit_path is not None:
        found.append(("audit.path", _why_no_audit(config.audit_path)))
    if needs_socket:
        found += _look_at_socket("broker.socket", config.socket_path)
        found.append(("broker.socket_group", _why_no_group(config.socket_path, config.socket_gid)))
    if any(grant.limit is not None for grant in config.policy.grants):
        found.append(("broker.seal", why_no_place(Path(config.seal_path))))
    return [Problem(str(file), key, reason, config.lines.of(key)) for key, reason in found if reason]


def why_no_control(config: Config) -> str | None:
    """Return why a broker can't make its control socket, or None if it can. It serves without this socket."""
    return next((reason for _, reason in _look_at_socket("broker.control", config.control_path) if reason), None)


def audit_problem(file: Path, config: Config, error: OSError) -> ConfigError:
    """Return the error for an audit that can't be opened."""
    reason = _describe(str(config.audit_path), error)
    return ConfigError([Problem(str(file), "audit.path", reason, config.lines.of("audit.path"))])


def _why_no_audit(path: str) -> str | None:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISFIFO(mode):
            return None  # a writer that comes and goes would end its reader
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY))
    except FileNotFoundError:
        return _why_no_new_file(path)
    except OSError as error:
        return _describe(path, error)
    return None


def _describe(path: str, error: OSError) -> str:
    if error.errno == errno.ENOENT and (reason := _why_no_new_file(path)):
        return reason
    remedy = _AUDIT_REMEDIES.get(error.errno or 0, "name another file")
    return f"{path} can't be written: {error.strerror}: {remedy}"


def _look_at_socket(key: str, path: str) -> Iterator[tuple[str, str | None]]:
    """Yield problems with the place of a socket. A socket that a process listens on is not looked at."""
    if _is_served(path):
        return
    with contextlib.suppress(OSError):  # there is none yet
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            yield key, f"{path} is no socket: remove it, or use another path"
    yield key, _why_no_new_file(path)


def _why_no_group(path: str, gid: int) -> str | None:
    """Return why this process can't give the socket to its group, or None if it can, or need not."""
    if _is_served(path) or gid in (os.getegid(), *os.getgroups()) or read_own().effective_low >> _CAP_CHOWN & 1:
        return None
    return (
        f"this process may not give {path} to the group {_group_name(gid)}: let it have CAP_CHOWN, run it in that "
        "group, or let a service manager make the socket"
    )


def _why_no_new_file(path: str) -> str | None:
    """Return why no file can be made at a path, or None if it can."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        fault = "is no directory" if os.path.lexists(directory) else "does not exist"
        return f"{directory} {fault}: create it, or name another place than {path}"
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{path} can't be made: {os.strerror(errno.EROFS)}: {_AUDIT_REMEDIES[errno.EROFS]}"
    if not os.access(directory, os.W_OK | os.X_OK, effective_ids=True):
        return f"{path} can't be made: {os.strerror(errno.EACCES)}: {_AUDIT_REMEDIES[errno.EACCES]}"
    return None


def _is_served(path: str) -> bool:
    """Return whether a process listens on a Unix socket. A connection could start a service, so none is made."""
    if not os.path.exists(path):
        return False
    name = os.fsencode(path)
    with open("/proc/net/unix", "rb") as file:
        # Num, RefCount, Protocol, Flags, Type, St, Inode, Path.
        fields = (line.rstrip(b"\n").split(b" ", 7) for line in file if line.endswith(b" " + name + b"\n"))
        return any(line[3] == _LISTENING for line in fields)


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
