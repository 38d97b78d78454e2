"""The second wall in the kernel: attaches its programs, pins their links beside the maps, and removes them.

A link that is pinned holds past the broker's death. Without its pin, its program is gone, and the first wall holds
alone. The wall has only the programs that the limits in force, and the sockets in use, need. Programs that the kernel
runs for each packet of the host are attached just before a socket that needs them is stopped: see `packet_hooks_for`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from ..policy.kinds import KIND_OF_TRIPLE, Triple, is_inet
from . import bpf
from .kernel import kernel_layout
from .layout import CHOSEN, CLONED, PARENT, SEVERAL, STOPPED
from .live import all_live
from .maps import SealMaps, limits_in_force, make_maps, open_maps
from .programs.calls import HOOKS
from .programs.iterator import LiveSocket
from .writing import Entries

_LSM, _LSM_MAC = 29, 27
_SEQPACKET, _SCTP = int(socket.SOCK_SEQPACKET), int(socket.IPPROTO_SCTP)
_LISTEN = 10
"""The state of a socket. Source: include/net/tcp_states.h."""
_PIN, _NEW, _LOCK = "hook_", "new_hook_", "lock"
_PATIENCE_S, _PAUSE_S = 2.0, 0.01
"""A broker has the lock for some milliseconds, unless it hangs."""
_ACTIVE = Path("/sys/kernel/security/lsm")

FOR_EACH_PACKET = frozenset({"socket_sendmsg", "socket_recvmsg"})
"""Hooks that cost all sockets of the host time. They stand only while sockets that need them are in use."""
_NO_HOOKS: frozenset[str] = frozenset()

_CONNECTIONS = {"socket_connect", "socket_bind", "socket_listen", "socket_accept"}
_ASSOCIATIONS = {
    *("sctp_bind_connect", "sctp_assoc_request", "sctp_assoc_established", "sctp_sk_clone"),
    "socket_getsockopt",
}
_ALL = {"socket_setsockopt", "uring_cmd"}
_NEEDED = {
    "tcp": _ALL | _CONNECTIONS,
    "mptcp": _ALL | _CONNECTIONS,
    "sctp": _ALL | _CONNECTIONS | _ASSOCIATIONS | FOR_EACH_PACKET,
}
"""The hooks for a kind. Others need only those of `_ALL`: the first wall sees their packets."""

_OPTIONAL = {"uring_cmd"}
"""Hooks that old kernels lack, along with the calls that they see."""


class WallError(Exception):
    """This host can't have the second wall, or not now. The message has the cause."""


def hooks_for(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that limited sockets of these kinds need."""
    return set().union(*(_NEEDED.get(kind, _ALL) for kind in kinds))


def hooks_of_policy(kinds: Iterable[str]) -> set[str]:
    """Return the names of the hooks that must stand if a policy limits these kinds, before any socket is in use."""
    return hooks_for(kinds) - FOR_EACH_PACKET


def packet_hooks_for(one: LiveSocket, limits_connecting: bool | None) -> frozenset[str]:
    """Return the names of the other hooks that a socket in use needs.

    The first wall stops a socket that is cut off, revoked or without a grant, except for one that SCTP made. A call of
    `accept` or `peeloff` can still go on, and make one. If connecting became limited meanwhile, it can also take an
    association that was not checked: of a peer that has several addresses, or that the owner chose.

    Args:
        one: the socket. One of an unknown kind counts as one of SCTP.
        limits_connecting: whether its grant limits connecting, or None if the grant is gone.
    """
    if KIND_OF_TRIPLE.get(triple_of(one), "sctp") != "sctp":
        return _NO_HOOKS
    is_parent = bool(one.flags & PARENT)
    if one.type != _SEQPACKET and one.state == _LISTEN:
        is_parent = True  # an older broker's listener lacks the flag
    if one.flags & STOPPED or limits_connecting is None:
        is_needed = is_parent or bool(one.flags & CLONED)
    else:
        is_needed = limits_connecting and is_parent and bool(one.flags & (SEVERAL | CHOSEN))
    return FOR_EACH_PACKET if is_needed else _NO_HOOKS


def is_udplite(triple: Triple) -> bool:
    """Return whether this is the kind udplite."""
    return KIND_OF_TRIPLE.get(triple) == "udplite"


def kinds_in_use(sockets: Iterable[LiveSocket]) -> set[str]:
    """Return the kinds of sockets. Count an unknown socket as one of each kind."""
    kinds: set[str] = set()
    for one in sockets:
        kind = KIND_OF_TRIPLE.get(triple_of(one))
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
        for name in sorted((set(hooks) if anew else set(hooks) - standing_hooks(directory)) - _absent()):
            os.rename(_pin_new(directory, maps, name), directory / f"{_PIN}{name}")
    except OSError as error:
        raise WallError(str(error.strerror or error)) from error


def _pin_new(directory: Path, maps: SealMaps, name: str) -> Path:
    """Attach the program of a hook, and pin its link under a name that only the caller knows."""
    place = directory / f"{_NEW}{os.urandom(8).hex()}"
    with bpf.closing(_attach(name, maps)) as link_fd:
        bpf.pin(link_fd, str(place))
    return place


def remove(directory: Path, hooks: Iterable[str]) -> None:
    """Remove the programs of these hooks."""
    for name in hooks:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(directory / f"{_PIN}{name}")


def remove_superfluous(directory: Path, needed: Callable[[], set[str]]) -> bool:
    """Remove the programs that nothing needs. Return False, without an effect, if `nsbrokerd revoke` is at work.

    It also removes what a broker or a command left that ended just before it put a program in place.
    """
    if not standing_hooks(directory):
        return True
    with _locked(directory, fcntl.LOCK_EX, patience_s=0) as is_locked:
        if not is_locked:
            return False
        if superfluous := standing_hooks(directory) - needed():
            # Look again: the first list misses a connection that a listener accepted meanwhile, just before it ended.
            superfluous -= needed()
        remove(directory, superfluous)
        for leftover in directory.glob(f"{_NEW}*"):
            leftover.unlink(missing_ok=True)
    return True


def remove_packet_hooks(directory: Path, maps: SealMaps) -> None:
    """Remove the hooks for each packet if no socket in use needs them, unless `nsbrokerd revoke` is at work.

    Raises:
        OSError: this kernel can't list sockets. Then they stay.
    """

    def needed() -> set[str]:
        return standing_hooks(directory) - FOR_EACH_PACKET | _packet_hooks_for_all(maps, all_live(maps, _SCTP))

    if standing_hooks(directory) & FOR_EACH_PACKET:
        remove_superfluous(directory, needed)


@contextlib.contextmanager
def on_standby(directory: Path, maps: SealMaps) -> Iterator[set[str]]:
    """Attach the hooks for each packet while sockets are revoked. Add those to the set that must stand afterwards.

    If the kernel refuses one of them, the sockets are revoked all the same: the first wall stops most. `missing_hooks`
    has it then.

    Raises:
        OSError: a broker that hangs may remove them later, or something has removed them. The sockets are revoked.
    """
    kept: set[str] = set()
    if not standing_hooks(directory):
        yield kept  # the first wall holds alone here
        return
    with _locked(directory, fcntl.LOCK_SH, patience_s=_PATIENCE_S) as is_locked:
        pins: dict[str, Path] = {}
        for name in sorted(FOR_EACH_PACKET - (standing_hooks(directory) if is_locked else set())):
            with contextlib.suppress(OSError):
                pins[name] = _pin_new(directory, maps, name)
        try:
            yield kept
        except BaseException:
            kept |= FOR_EACH_PACKET  # some may be revoked
            raise
        finally:
            lost = _put_in_place(directory, pins, kept)
    if kept and not is_locked:
        failure = "the broker hangs, and may let go of those of sctp: end it, and revoke again"
    elif lost:
        failure = f"the second wall has lost {', '.join(sorted(lost))}: revoke again"
    else:
        return
    raise OSError(errno.EAGAIN, f"the sockets are revoked, but {failure}")


def _put_in_place(directory: Path, pins: Mapping[str, Path], kept: Collection[str]) -> set[str]:
    """Let the new programs of `kept` stand, and remove the others. Return the names of those that can't stand.

    A broker that had the lock can have removed them already: see `remove_superfluous`.
    """
    lost = set()
    for name, place in pins.items():
        try:
            if name in kept:
                os.rename(place, directory / f"{_PIN}{name}")
            else:
                os.unlink(place)
        except OSError:
            if name in kept:
                lost.add(name)
    return lost


@contextlib.contextmanager
def _locked(directory: Path, lock: int, patience_s: float) -> Iterator[bool]:
    """Lock the choice of the hooks that stand. Yield whether it could be locked in time.

    The directory itself is locked as long as the broker runs. So this is the lock of a directory in it.
    """
    place = directory / _LOCK
    place.mkdir(mode=0o700, exist_ok=True)
    with bpf.closing(os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as fd:
        end_s = time.monotonic() + patience_s
        while not (is_locked := _try_lock(fd, lock)) and time.monotonic() < end_s:
            time.sleep(_PAUSE_S)
        yield is_locked


def _try_lock(fd: int, lock: int) -> bool:
    try:
        fcntl.flock(fd, lock | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def needed_hooks(maps: SealMaps, kinds: Iterable[str]) -> set[str]:
    """Return the hooks that a policy which limits these kinds needs, and the limited sockets in use."""
    try:
        sockets = all_live(maps)
    except OSError:
        return hooks_for(KIND_OF_TRIPLE.values())  # this kernel can't list sockets: they may be of any kind
    return hooks_of_policy({*kinds, *kinds_in_use(sockets)}) | _packet_hooks_for_all(maps, sockets)


def _packet_hooks_for_all(maps: SealMaps, sockets: Iterable[LiveSocket]) -> set[str]:
    with limits_in_force(maps) as limits_connecting:
        return set().union(*(packet_hooks_for(one, limits_connecting(one.grant_id)) for one in sockets))


def hooks_for_change(directory: Path, maps: SealMaps, kinds: Iterable[str]) -> set[str]:
    """Return the hooks that must stand while limits change to a policy which limits these kinds.

    The change can cut off any socket in use, so this includes all hooks for their kinds.
    """
    try:
        in_use = kinds_in_use(all_live(maps))
    except OSError:
        return hooks_for(KIND_OF_TRIPLE.values())
    if "sctp_sk_clone" in standing_hooks(directory):
        in_use.add("sctp")  # the list misses a socket that SCTP makes meanwhile, just before its listener ends
    return hooks_of_policy(kinds) | hooks_for(in_use)


def triple_of(one: LiveSocket) -> Triple:
    """Return the socket's triple."""
    return one.family, one.type, one.protocol


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
    """Return why this host can't have the second wall, or None if it can. It tries all programs, and cleans up.

    Raises:
        WallError: a later try can succeed, for example if memory is short now.
    """
    try:
        with closing(make_maps()) as maps:
            for name in sorted(HOOKS.keys() - _absent()):
                os.close(_load(name, maps))
            return None if _is_asked(maps) else _why_not_asked()
    except OSError as error:
        reason = str(error.strerror or error)
        if bpf.is_passing(error):
            raise WallError(reason) from error
        return reason


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
