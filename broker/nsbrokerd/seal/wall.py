"""The second wall in the kernel: attaches its programs, pins their links beside the maps, and removes them.

A link that is pinned holds past the broker's death. Without its pin, its program is gone, and the first wall holds
alone. The wall has only the programs that the limits in force, and the sockets in use, need. Programs that the kernel
runs for each packet of the host are attached with the first socket that needs them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path

from ..policy.kinds import KIND_OF_TRIPLE, Triple, is_inet
from . import bpf
from .kernel import kernel_layout
from .live import all_live
from .maps import SealMaps, make_maps, open_maps
from .programs.calls import HOOKS
from .programs.iterator import LiveSocket
from .writing import Entries

_LSM, _LSM_MAC = 29, 27
_PIN, _NEW = "hook_", "new_hook_"
_ACTIVE = Path("/sys/kernel/security/lsm")

_PACKETS = {"socket_connect", "socket_sendmsg"}
_CONNECTIONS = {"socket_connect", "socket_bind", "socket_listen", "socket_accept"}
_ALL = {"socket_setsockopt", "uring_cmd"}
_NEEDED = {
    "udp": _ALL,
    "udplite": _ALL | _PACKETS,
    "tcp": _ALL | _CONNECTIONS,
    "mptcp": _ALL | _CONNECTIONS,
    "sctp": _ALL | _CONNECTIONS | _PACKETS | {"socket_recvmsg", "sctp_bind_connect", "sctp_sk_clone"},
}
"""The hooks for a kind. Others need only those of `_ALL`: their packets have no copies, if nobody sets an option."""

_FOR_EACH_PACKET = {"socket_sendmsg", "socket_recvmsg"}
"""Hooks that cost all sockets of the host time. They stand only while sockets that need them are in use."""

_OPTIONAL = {"uring_cmd"}
"""Hooks that old kernels lack, along with the calls that they see."""


class WallError(Exception):
    """This host can't have the second wall. The message has the cause."""


def hooks_for(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that limited sockets of these kinds need."""
    return set().union(*(_NEEDED.get(kind, _ALL) for kind in kinds))


_PACKET_HOOKS = {triple: hooks_for([kind]) & _FOR_EACH_PACKET for triple, kind in KIND_OF_TRIPLE.items()}
"""Made once, because the broker asks for each limited socket."""


def hooks_of_policy(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that must stand if a policy limits these kinds, before any socket is in use."""
    return hooks_for(kinds) - _FOR_EACH_PACKET


def packet_hooks_for(triples: Iterable[Triple]) -> set[str]:
    """Return the names of the other hooks, which must stand before the first of these sockets is in use."""
    return set().union(*(_PACKET_HOOKS.get(triple, _FOR_EACH_PACKET) for triple in triples))


def kinds_in_use(sockets: Iterable[LiveSocket]) -> set[str]:
    """Return the kinds of sockets. Count an unknown socket as one of each kind."""
    kinds: set[str] = set()
    for one in sockets:
        kind = KIND_OF_TRIPLE.get((one.family, one.type, one.protocol))
        kinds |= {kind} if kind is not None else set(filter(is_inet, KIND_OF_TRIPLE.values()))
    return kinds


def standing_hooks(directory: Path) -> set[str]:
    """Return the names of the hooks whose links are pinned in a directory."""
    try:
        return {name.removeprefix(_PIN) for name in os.listdir(directory) if name.startswith(_PIN)}
    except FileNotFoundError:
        return set()


def build(directory: Path, maps: SealMaps, hooks: Collection[str], *, anew: bool) -> None:
    """Attach the programs of these hooks, and pin their links. Keep those that are there, unless `anew`.

    A new program runs before the former one is removed, so the wall has no gap. It never has two for long.

    Raises:
        WallError: the kernel refuses a program.
    """
    try:
        for leftover in directory.glob(f"{_NEW}*"):
            leftover.unlink()  # a broker ended just before it put this in place
        for name in sorted((set(hooks) if anew else set(hooks) - standing_hooks(directory)) - _absent()):
            with bpf.closing(_attach(name, maps)) as link_fd:
                bpf.pin(link_fd, f"{directory}/{_NEW}{name}")
            os.rename(directory / f"{_NEW}{name}", directory / f"{_PIN}{name}")
    except OSError as error:
        raise WallError(str(error.strerror or error)) from error


def remove(directory: Path, hooks: Iterable[str]) -> None:
    """Remove the programs of these hooks."""
    for name in hooks:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / f"{_PIN}{name}")


def needed_hooks(maps: SealMaps, kinds: Iterable[str]) -> set[str]:
    """Return the hooks that a policy which limits these kinds needs, and the limited sockets in use."""
    try:
        return hooks_of_policy(kinds) | hooks_for(kinds_in_use(all_live(maps)))
    except OSError:
        return hooks_for(KIND_OF_TRIPLE.values())  # this kernel can't list sockets: they may be of any kind


def missing_hooks(directory: Path, kinds: Iterable[str]) -> set[str]:
    """Return the hooks that the broker of a directory must have attached for these kinds, and whose pins are gone.

    Raises:
        OSError: the caller is not root, or there are no maps.
    """
    with closing(open_maps(directory)) as maps:
        needed = needed_hooks(maps, kinds) - _absent()
    return needed - standing_hooks(directory)


def _absent() -> set[str]:
    return {name for name in _OPTIONAL if name not in kernel_layout().hooks}


def why_no_second_wall() -> str | None:
    """Return why this host can't have the second wall, or None if it can. It tries all programs, and cleans up."""
    try:
        with closing(make_maps()) as maps:
            for name in sorted(HOOKS.keys() - _absent()):
                os.close(_load(name, maps))
            return None if _is_asked(maps) else _why_not_asked()
    except OSError as error:
        return str(error.strerror or error)


def _is_asked(maps: SealMaps) -> bool:
    """Return whether the kernel runs a program: it must deny a socket whose grant does not exist."""
    with bpf.closing(_attach("socket_listen", maps)), socket.socket() as sock:
        Entries(maps.sockets).put([(sock, "", 0, 0)], 0, 0)
        try:
            sock.listen()
        except OSError as error:
            return error.errno == errno.EPERM
    return False


def _why_not_asked() -> str:
    try:
        active = _ACTIVE.read_text()
    except OSError:
        active = "unknown"
    return f"the kernel does not ask its security module bpf: add it to lsm= on the kernel's command line ({active})"


def _attach(name: str, maps: SealMaps) -> int:
    """Attach a program, and return its link."""
    with bpf.closing(_load(name, maps)) as program_fd:
        return bpf.attach_hook(program_fd, name)


def _load(name: str, maps: SealMaps) -> int:
    kernel = kernel_layout()
    if name not in kernel.hooks:
        raise OSError(errno.ENOSYS, f"this kernel has no hook {name}: use a newer kernel")
    try:
        code = HOOKS[name].assemble(maps.sockets, maps.limits, kernel.fields)
    except KeyError as error:
        raise OSError(errno.ENOSYS, f"this kernel does not describe {error.args[0]}: use a newer kernel") from error
    return bpf.load_program(f"nsb_{name}"[:15], _LSM, _LSM_MAC, code, kernel.hooks[name])
