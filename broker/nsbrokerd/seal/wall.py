"""The second wall in the kernel: attaches its programs, pins their links beside the maps, and removes them.

A link that is pinned holds past the broker's death. Without its pin, its program is gone, and the first wall holds
alone. The wall has only the programs that the limits in force, and the sockets in use, need. Programs that the kernel
runs for each packet of the host are attached just before a socket that needs them is stopped: see `needed`.

When the last program of a hook is gone, the kernel waits until each process has slept that could be in it, and until
then it neither attaches nor detaches another one. A user can have a process that never gets to run. So programs are
attached and detached in threads, which nothing waits for without a limit. Source: ftrace_shutdown and
register_ftrace_direct in kernel/trace/ftrace.c.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import closing
from pathlib import Path

from . import bpf
from .background import call_with_limit
from .kernel import kernel_layout
from .maps import SealMaps, make_maps, open_maps
from .needed import FOR_EACH_PACKET, needed_for_packets, needed_hooks, open_associations, sctp_sockets
from .programs.calls import HOOKS
from .writing import Entries

_LSM, _LSM_MAC = 29, 27
_PIN, _NEW, _REMOVED, _LOCK = "hook_", "new_hook_", "removed_hook_", "lock"
_PATIENCE_S, _PAUSE_S = 2.0, 0.01
"""A broker has the lock for some milliseconds, unless it hangs."""
_ATTACH_S = 5.0
"""To attach a program takes milliseconds, unless the kernel waits for a process."""
_ACTIVE = Path("/sys/kernel/security/lsm")
_WAITS = "the kernel attaches no program now, because some process does not get to run: try again later"

_OPTIONAL = {"uring_cmd"}
"""Hooks that old kernels lack, along with the calls that they see."""


class WallError(Exception):
    """This host can't have the second wall, or not now. The message has the cause."""


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
            os.rename(_pin_soon(directory, maps, name), directory / f"{_PIN}{name}")
    except TimeoutError as error:
        raise WallError(_WAITS) from error
    except OSError as error:
        raise WallError(str(error.strerror or error)) from error


def _pin_soon(directory: Path, maps: SealMaps, name: str) -> Path:
    """Attach the program of a hook, and pin its link.

    Raises:
        TimeoutError: the kernel waits for a process. The pin can come later, as a leftover.
        OSError: the kernel refuses the program.
    """
    return call_with_limit(lambda: _pin_new(directory, maps, name), _ATTACH_S)


def _pin_new(directory: Path, maps: SealMaps, name: str) -> Path:
    """Attach the program of a hook, and pin its link under a name that only the caller knows."""
    place = directory / f"{_NEW}{os.urandom(8).hex()}"
    with bpf.closing(_attach(name, maps)) as link_fd:
        bpf.pin(link_fd, str(place))
    return place


def remove(directory: Path, hooks: Iterable[str]) -> None:
    """Remove the programs of these hooks. They go on until `detach_removed`."""
    for name in hooks:
        _set_aside(directory, directory / f"{_PIN}{name}")


def _set_aside(directory: Path, place: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rename(place, directory / f"{_REMOVED}{os.urandom(8).hex()}")


def detach_removed(directory: Path) -> None:
    """Detach the programs that were removed. On some kernels, this can take forever."""
    for place in _removed(directory):
        with contextlib.suppress(OSError):  # of another process that does the same
            place.unlink()


def _removed(directory: Path) -> list[Path]:
    return list(directory.glob(f"{_REMOVED}*"))


def detach_in_child(directory: Path) -> None:
    """Detach the removed programs in a child process, because a command must not wait for that."""
    with contextlib.suppress(OSError):  # then the broker does it
        if not _removed(directory) or os.fork() != 0:
            return
        try:
            silence = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            for fd in (0, 1, 2):
                os.dup2(silence, fd)
            detach_removed(directory)
        finally:
            os._exit(0)


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
            _set_aside(directory, leftover)
    return True


def remove_packet_hooks(directory: Path, maps: SealMaps, ended: AbstractSet[int]) -> None:
    """Remove the hooks for each packet if no socket in use needs them, unless `nsbrokerd revoke` is at work.

    Args:
        directory: the place of the pins.
        maps: the seal's maps.
        ended: see `needed_hooks`.

    Raises:
        OSError: this kernel can't list sockets. Then they stay.
    """

    def needed() -> set[str]:
        return standing_hooks(directory) - FOR_EACH_PACKET | needed_for_packets(maps, sctp_sockets(maps), ended)

    if standing_hooks(directory) & FOR_EACH_PACKET:
        remove_superfluous(directory, needed)


@contextlib.contextmanager
def on_standby(directory: Path, maps: SealMaps) -> Iterator[set[str]]:
    """Attach the hooks for each packet while sockets are revoked. Add those to the set that must stand afterwards.

    If the kernel refuses one of them, or waits for a process, the sockets are revoked all the same: the first wall
    stops most. `missing_hooks` has it then.

    Raises:
        OSError: a broker that hangs may remove them later, or something has removed them. The sockets are revoked.
    """
    kept: set[str] = set()
    if not standing_hooks(directory):
        yield kept  # the first wall holds alone here
        return
    with _locked(directory, fcntl.LOCK_SH, patience_s=_PATIENCE_S) as is_locked:
        pins: dict[str, Path] = {}
        missing = FOR_EACH_PACKET - (standing_hooks(directory) if is_locked else set())
        with contextlib.suppress(TimeoutError):  # it would be the same for the others
            for name in sorted(missing):
                pins |= _pin_if_possible(directory, maps, name)
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


def _pin_if_possible(directory: Path, maps: SealMaps, name: str) -> dict[str, Path]:
    """Attach the program of a hook, unless the kernel refuses it. Return its name and pin.

    Raises:
        TimeoutError: see `_pin_soon`.
    """
    try:
        return {name: _pin_soon(directory, maps, name)}
    except TimeoutError:
        raise
    except OSError:
        return {}


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
                _set_aside(directory, place)
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


def missing_hooks(directory: Path, kinds: Iterable[str]) -> set[str]:
    """Return the hooks that the broker of a directory must have attached for these kinds, and whose pins are gone.

    The hooks for each packet count only while a stopped socket has an association.

    Raises:
        OSError: the caller is not root, or there are no maps.
    """
    with closing(open_maps(directory)) as maps:
        needed = needed_hooks(maps, kinds) - _absent()
        with contextlib.suppress(OSError):  # unknown: then they are needed
            if needed & FOR_EACH_PACKET and not open_associations(maps):
                needed -= FOR_EACH_PACKET
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
            return None if call_with_limit(lambda: _is_asked(maps), _ATTACH_S) else _why_not_asked()
    except TimeoutError as error:
        raise WallError(_WAITS) from error
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
