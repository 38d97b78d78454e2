"""Names as in the namespace: the files of /etc/netns/NS over those of /etc, and no local service that would answer.

In a mount namespace of its own, as `ip netns exec` does it. A user without privileges gets that by a user namespace
in which the uid and gid are what they were. Source: ip-netns(8), user_namespaces(7), mount_namespaces(7).
"""

from __future__ import annotations

import errno
import os
import stat

from ..wire.record import Record
from . import kernel

FILES = "/etc/netns"
HIDDEN_MODE = 0o755

_SERVICES = (
    # directory, the sockets that answer about names, the files there that are needed without them
    ("/run/nscd", ("socket",), ()),
    ("/run/avahi-daemon", ("socket",), ()),
    ("/run/dbus", ("system_bus_socket",), ()),
    ("/run/systemd/resolve", ("io.systemd.Resolve",), ("resolv.conf", "stub-resolv.conf")),
)
"""They live in the own network namespace, and are reached by AF_UNIX: names would be looked up there.
All of the directory is hidden: a service that is restarted makes a new socket, and a mount on the old one is gone."""

_WHY_NOT = {
    errno.ENOSPC: "no more are allowed, see the sysctl user.max_user_namespaces",
    errno.EINVAL: "this kernel has none",
    errno.EPERM: "this system forbids them to users, see the sysctls kernel.unprivileged_userns_clone and "
    "kernel.apparmor_restrict_unprivileged_userns",
}


class Service(Record):
    """A directory to hide, and the names of the files that stay."""

    directory: str
    kept: tuple[str, ...]


class Plan(Record):
    """What to mount: files (source, target), over what is there, after services were hidden."""

    services: tuple[Service, ...]
    files: tuple[tuple[str, str], ...]


def use_files_of(namespace: str) -> list[str]:
    """Move this process into a mount namespace where names are those of the network namespace.

    Returns what did not work, as lines for people. Without anything to mount, nothing is done.

    Raises:
        OSError: it failed half way, although it had worked for a child just before.
    """
    plan = make_plan(namespace)
    if not (plan.services or plan.files):
        return []
    error = _try_in_child(plan)
    if error is None:
        return _carry_out(plan)
    what = [file for _, file in plan.files] + [service.directory for service in plan.services]
    return [
        f"names may be looked up outside of {namespace}, since a private view of {', '.join(what)} is not possible here"
        f" (user namespaces: {_WHY_NOT.get(error, os.strerror(error))})"
    ]


def make_plan(namespace: str, root: str = "") -> Plan:
    """Find out what there is for a namespace, below `root`."""
    services = tuple(
        Service(directory, kept)
        for directory, sockets, kept in _SERVICES
        if any(_is_socket(f"{root}{directory}/{name}") for name in sockets)
    )
    # Not a name: a file of the namespace called ".." would be anything.
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
    """Do it in a child; gives the errno if it failed. A process that fails half way is nobody, and can't go back."""
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
        return None  # SIGCHLD is ignored, so nobody can know: the process itself will tell.
    return os.waitstatus_to_exitcode(status) or None


def _carry_out(plan: Plan) -> list[str]:
    _enter_namespaces()
    for service in plan.services:
        _hide(service)
    return [warning for source, target in plan.files if (warning := _bind(source, target))]


def _enter_namespaces() -> None:
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{uid} {uid} 1")
        _write("/proc/self/gid_map", f"{gid} {gid} 1")
    # Mounts made later elsewhere, such as those of /run/netns, are still seen; ours are nobody else's.
    kernel.mount("none", "/", "none", kernel.MS_SLAVE | kernel.MS_REC)


def _write(path: str, text: str) -> None:
    # In one write(2), which the maps insist on.
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


def _bind(source: str, target: str) -> str | None:
    try:
        kernel.mount(source, target, "none", kernel.MS_BIND)
    except OSError as error:
        return f"{source} is not used: can't put it over {target}: {error.strerror}"
    return None
