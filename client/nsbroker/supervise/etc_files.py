"""Makes a program look up names as in the namespace: mounts the files of /etc/netns/NS over those of /etc.

A container has files of its own in place of these. Their texts are put over those of /etc.
It also hides the local services that would answer in the caller's own namespace. It does so in a new mount namespace,
as `ip netns exec` does. For a user without privileges that takes a user namespace, which keeps uid and gid.
Source: ip-netns(8), user_namespaces(7), mount_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import stat

from ..wire.record import Record
from . import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

FILES = "/etc/netns"
HIDDEN_MODE = 0o755
_TEXT_MODE = 0o644
_SCRATCH = "/tmp"  # noqa: S108  # hidden by a mount of its own, while files are made there
"""Any directory that every system has."""

_SERVICES = (
    # A directory, the sockets there that answer about names, and the files there that programs still need.
    ("/run/nscd", ("socket",), ()),
    ("/run/avahi-daemon", ("socket",), ()),
    ("/run/dbus", ("system_bus_socket",), ()),
    ("/run/systemd/resolve", ("io.systemd.Resolve",), ("resolv.conf", "stub-resolv.conf")),
)
"""Services in the caller's own network namespace, which programs reach by AF_UNIX. They would look up names there.
The whole directory is hidden: a restarted service makes a new socket, which a mount on the old one would not cover."""

_WHY_NOT = {
    errno.ENOSPC: "no more are allowed, see the sysctl user.max_user_namespaces",
    errno.EINVAL: "this kernel has none",
    errno.EPERM: "this system forbids them to users, see the sysctls kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns",
}


class Service(Record):
    """A directory to hide, and the names of the files that stay visible."""

    directory: str
    kept: tuple[str, ...]


class Plan(Record):
    """The mounts to make: first hide the services, then mount each source over its target, then put texts over files.

    `files` has (source, target), and `texts` has (target, text).
    """

    services: tuple[Service, ...]
    files: tuple[tuple[str, str], ...]
    texts: tuple[tuple[str, str], ...] = ()


def use_files_of(namespace: str, texts: Mapping[str, str] | None = None) -> list[str]:
    """Move this process into a mount namespace in which names are those of the network namespace.

    If there is no file to mount and no service to hide, the process stays where it is.

    Args:
        namespace: the namespace's name.
        texts: by path, texts to put over files.

    Returns:
        Lines for the user, about the mounts that failed.

    Raises:
        OSError: a step failed half way, although a child process did the same steps just before.
    """
    plan = make_plan(namespace)._replace(texts=tuple((texts or {}).items()))
    if not any(plan):
        return []
    error = _try_in_child(plan)
    if error is None:
        return _carry_out(plan)
    files = dict.fromkeys([target for _, target in plan.files] + [target for target, _ in plan.texts])
    paths = [*files, *(service.directory for service in plan.services)]
    return [
        f"names may be looked up outside of {namespace}, since a private view of {', '.join(paths)} is not possible"
        f" here (user namespaces: {_WHY_NOT.get(error, os.strerror(error))})"
    ]


def make_plan(namespace: str, root: str = "") -> Plan:
    """Return the mounts that a namespace needs, from the files below `root`."""
    services = tuple(
        Service(directory, kept)
        for directory, sockets, kept in _SERVICES
        if any(_is_socket(f"{root}{directory}/{name}") for name in sockets)
    )
    # A path is no name, and "/etc/netns/.." is no directory of a namespace.
    names = [] if "/" in namespace or namespace in ("", ".", "..") else _list(f"{root}{FILES}/{namespace}")
    return Plan(services, tuple((f"{FILES}/{namespace}/{name}", f"/etc/{name}") for name in names))


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except OSError:
        return False


def _list(path: str) -> list[str]:
    try:
        return sorted(os.listdir(path))
    except OSError:
        return []


def _try_in_child(plan: Plan) -> int | None:
    """Make the mounts in a child, and return its errno if it failed. A process that fails half way can't undo them."""
    child = os.fork()
    if child == 0:
        status = 255
        try:
            _carry_out(plan)
            status = 0
        except OSError as error:
            status = error.errno or status
        finally:
            os._exit(status)
    try:
        _, status = os.waitpid(child, 0)
    except ChildProcessError:
        return None  # SIGCHLD is ignored, so the status is lost. The process itself will see an error.
    return os.waitstatus_to_exitcode(status) or None


def _carry_out(plan: Plan) -> list[str]:
    _enter_namespaces()
    for service in plan.services:
        _hide(service)
    warnings = [_bind(source, target) for source, target in plan.files]
    if plan.texts:
        warnings += _put_over_files(plan.texts)
    return [warning for warning in warnings if warning]


def _put_over_files(texts: Iterable[tuple[str, str]]) -> list[str | None]:
    """Make files in a file system of their own, and mount each over its target."""
    kernel.mount("tmpfs", _SCRATCH, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC)
    warnings = []
    for target, text in texts:
        source = f"{_SCRATCH}/{os.path.basename(target)}"
        with open(source, "xb") as file:
            file.write(text.encode(errors="surrogateescape"))
            os.fchmod(file.fileno(), _TEXT_MODE)
        warnings.append(_bind(source, target, "the container's file"))
    kernel.unmount(_SCRATCH)
    return warnings


def _enter_namespaces() -> None:
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    # Later mounts of other processes, such as those in /run/netns, stay visible here. Ours are invisible to them.
    kernel.mount("none", "/", "none", kernel.MS_SLAVE | kernel.MS_REC)


def _write(path: str, text: str) -> None:
    # The maps accept only one write(2).
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _hide(service: Service) -> None:
    contents = {name: _read(f"{service.directory}/{name}") for name in service.kept}
    flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
    kernel.mount("tmpfs", service.directory, "tmpfs", flags, f"mode={HIDDEN_MODE:o}")
    for name, content in contents.items():
        if content is not None:
            with open(f"{service.directory}/{name}", "xb") as file:
                file.write(content)


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _bind(source: str, target: str, shown: str = "") -> str | None:
    try:
        kernel.mount(source, target, "none", kernel.MS_BIND)
    except OSError as error:
        return f"{shown or source} is not used: can't put it over {target}: {error.strerror}"
    return None
